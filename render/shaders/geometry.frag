// What each pixel sees of the mesh: triangle, barycentrics and depth as the words of one integer target, so that one
// transfer brings them all; and, where asked for, the smooth unit normal.

#include "surface.glsl"

layout(location = 0) out ivec4 geometry;  // triangle; weights of corners b and c, and depth in mm, as floats' bits

#ifdef NORMALS
uniform samplerBuffer normals;
layout(location = 1) out vec4 normal;
#endif

void main() {
    Surface here = surface_here();
    geometry = ivec4(gl_PrimitiveID, floatBitsToInt(vec3(here.weights.yz, here.depth)));
#ifdef NORMALS
    normal = vec4(normalize(interpolated(normals, here.corners, here.weights)), 0.0);
#endif
}
