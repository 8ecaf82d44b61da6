// The mesh in studio light, to look at its shape.

#include "lit.glsl"
#include "studio.glsl"

vec3 radiance(vec3 n, vec3 albedo, Surface here) { return studio(n, albedo); }

void main() { colour = lit(surface_here()); }
