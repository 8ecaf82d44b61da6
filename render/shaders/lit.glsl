// What the lit passes share: a pass includes this, defines `radiance`, and writes `lit` of the surface to `colour`.
//
// Colours leave as display values (sRGB), times alpha. Back faces turn their normal to the viewer.

#if defined(TEXTURE) || defined(NORMAL_MAP) || defined(DISPLACEMENT_MAP)
#define EXTENDED
#include "texture_coordinates.glsl"
#endif
#include "surface.glsl"
#include "srgb.glsl"
#include "relief.glsl"

uniform samplerBuffer colours;  // per vertex: linear reflectance
uniform float back_opacity;     // alpha of back faces
#ifdef TEXTURE
uniform sampler2D albedo_map;   // decoded to linear reflectance when it is read
#endif

out vec4 colour;

// Linear radiance of a surface with unit normal n (camera frame) at the point that `here` describes.
vec3 radiance(vec3 n, vec3 albedo, Surface here);

vec4 lit(Surface here) {
    vec3 n = interpolated(normals, here.corners, here.weights);
    n = dot(n, n) > 0.0 ? normalize(n) : n;
    vec3 albedo = interpolated(colours, here.corners, here.weights);
#ifdef EXTENDED
    mat3x2 corners = corner_coordinates();
    vec2 uv = corners * here.weights, along = corners * here.extended;
#endif
#ifdef TEXTURE
    albedo = textureGrad(albedo_map, uv, dFdx(along), dFdy(along)).rgb;
#endif
#ifdef DISPLACEMENT_MAP
    n = displaced(n, tangents(here.corners, corners), uv);
#endif
#ifdef NORMAL_MAP
    n = mapped(n, tangents(here.corners, corners), uv, dFdx(along), dFdy(along));
#endif
    float alpha = gl_FrontFacing ? 1.0 : back_opacity;
    return vec4(linear_to_srgb(radiance(gl_FrontFacing ? n : -n, albedo, here)), 1.0) * alpha;
}
