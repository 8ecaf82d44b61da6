"""The OpenGL shader pipeline: contexts with and without a screen, passes of shaders, and read-back.

A picture's way through it: `screen_mesh` projects and snaps the mesh on the CPU, `textures` uploads it, `passes` runs
the shaders of ../shaders into the framebuffers of `targets`, and `renderer.GLRenderer` offers all that as a `Renderer`.
"""
