// Edges of the triangles as lines of one width on the screen; between them nothing, but what lies behind stays hidden.
//
// Each of two neighbours draws its half of their edge. Distances to the edges are known, so the lines are smooth
// without multisampling.

#include "lit.glsl"
#include "studio.glsl"

uniform float line_width;  // px

vec3 radiance(vec3 n, vec3 albedo, Surface here) { return studio(n, albedo); }

void main() {
    Surface here = surface_here();
    float nearest = min(here.distance.x, min(here.distance.y, here.distance.z));
    colour = lit(here) * clamp(0.5 * line_width + 0.5 - nearest, 0.0, 1.0);
}
