"""Parts of the default model's builder: what is taken from MakeHuman, and what is made of it."""
