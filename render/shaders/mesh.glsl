// The projected mesh. It comes as buffer textures, not as vertex attributes, so that a fragment can look at all three
// corners of its triangle.

uniform samplerBuffer positions;   // per vertex: x, y in px on the grid of 1/256 px; depth key, see screen_mesh.py; depth in mm
uniform isamplerBuffer triangles;  // per triangle: its corners
uniform bool perspective;          // whether attributes are linear over 1 / depth, or over the image
