// Blinn-Phong: in linear light, with l towards the lamp, v towards the viewer and h halfway between,
//
//     radiance = albedo (ambient + diffuse max(n.l, 0)) + specular max(n.h, 0)^shininess   where n.l > 0, else without
//
// J. F. Blinn, Models of light reflection for computer synthesized pictures, SIGGRAPH 1977.

#include "lit.glsl"

uniform vec3 to_lamp;
uniform float ambient;
uniform float diffuse;
uniform float specular;
uniform float shininess;
uniform vec3 ray;  // under perspective: ((x, y) px, 1) -> (x - c_x) / f = x ray.z + ray.x, y likewise with ray.y

vec3 radiance(vec3 n, vec3 albedo, Surface here) {
    vec2 pixel = gl_FragCoord.xy - 0.5;
    vec3 v = perspective ? -normalize(vec3(pixel * ray.z + ray.xy, 1.0)) : vec3(0.0, 0.0, -1.0);
    vec3 h = normalize(to_lamp + v);
    float facing = dot(n, to_lamp);
    float highlight = facing > 0.0 ? specular * pow(max(dot(n, h), 0.0), shininess) : 0.0;
    return albedo * (ambient + diffuse * max(facing, 0.0)) + highlight;
}

void main() { colour = lit(surface_here()); }
