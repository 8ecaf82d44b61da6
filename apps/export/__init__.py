"""Files that other software opens: one module a format, each writing from a `FitResult` and its model.

    obj.py           Wavefront OBJ, MTL and PNG                     mm, model frame
    glb.py           glTF 2.0, binary: texture and morph targets    metres, y up, the face towards +Z
    ply.py           binary PLY with normals and colours            mm, model frame
    camera_json.py   the camera as OpenCV, OpenGL and weak perspective write it
    maps.py          position map, depth, normals and PNCC as images
    w300lp.py        the parameters of a BFM-layout model as 300W-LP stores them
    viewer.py        a page that shows a GLB from disk
    motion.py        pictures and films: other views, light, expressions (lights.py, expressions.py)

Wrong arguments raise InvalidInputError, a place that cannot be written to OutputError; a file appears whole or not at
all. A texture is (S, S', 3) uint8 sRGB whose first row is v = 1, as `UVMap` has its origin at the bottom left.
"""
