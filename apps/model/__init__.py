"""Commands about morphable models, and the builder of the default one."""
