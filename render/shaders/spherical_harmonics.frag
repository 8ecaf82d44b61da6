// The mesh under distant light, nine numbers per colour channel; the same basis as ../spherical_harmonics.py.

#include "lit.glsl"

uniform vec3 lighting[9];  // times the basis's constants

vec3 radiance(vec3 n, vec3 albedo, Surface here) {
    vec3 band0 = lighting[0];
    vec3 band1 = lighting[1] * n.y + lighting[2] * n.z + lighting[3] * n.x;
    vec3 band2 = lighting[4] * (n.x * n.y) + lighting[5] * (n.y * n.z) + lighting[6] * (3.0 * n.z * n.z - 1.0)
               + lighting[7] * (n.x * n.z) + lighting[8] * (n.x * n.x - n.y * n.y);
    return albedo * (band0 + band1 + band2);
}

void main() { colour = lit(surface_here()); }
