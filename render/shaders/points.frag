// A disc with a smooth outline.

#include "srgb.glsl"

uniform float diameter;

flat in vec3 reflectance;
out vec4 colour;

void main() {
    float distance = length(gl_PointCoord - 0.5) * (diameter + 1.0);
    float alpha = clamp(0.5 * diameter + 0.5 - distance, 0.0, 1.0);
    if (alpha == 0.0) discard;
    colour = vec4(linear_to_srgb(reflectance), 1.0) * alpha;
}
