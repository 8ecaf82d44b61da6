// Which point of the mesh a fragment shows, and how near that is.
//
// The edge functions of the snapped triangle a b c at the pixel's centre p,
//
//     E_a = (b - p) x (c - p),   E_b = (c - p) x (a - p),   E_c = (a - p) x (b - p),
//
// are exact in double precision, as the differences are multiples of 1/256 px below 2^14. They are the barycentrics of
// the image; those of the surface are E_i / d_i under perspective. Interpolation by the hardware would start at
// the window's corner and lose, on a small triangle far from there, three decimals of seven.
//
// Where a multisampled pixel's centre lies outside the triangle, the nearest of its points (roughly) stands for it. But
// what is differentiated over the image, to choose a mipmap, must go on beyond the edges: that is `extended`, for
// shaders that ask for it.

#include "mesh.glsl"

struct Surface {
    ivec3 corners;
    vec3 weights;   // barycentrics of the surface, sum 1, none negative
#ifdef EXTENDED
    vec3 extended;  // the same of the plane, where the pixel's centre lies outside the triangle
#endif
    vec3 distance;  // px from the edge opposite to each corner, in the image
    float depth;    // mm
};

double cross2(dvec2 u, dvec2 v) { return u.x * v.y - u.y * v.x; }

Surface surface_here() {
    Surface here;
    here.corners = texelFetch(triangles, gl_PrimitiveID).xyz;
    vec4 a = texelFetch(positions, here.corners.x);
    vec4 b = texelFetch(positions, here.corners.y);
    vec4 c = texelFetch(positions, here.corners.z);
    vec2 centre = gl_FragCoord.xy - 0.5;
    dvec2 pa = dvec2(a.xy - centre), pb = dvec2(b.xy - centre), pc = dvec2(c.xy - centre);

    dvec3 edge = dvec3(cross2(pb, pc), cross2(pc, pa), cross2(pa, pb));
    edge = edge.x + edge.y + edge.z > 0.0 ? edge : -edge;
    dvec3 depths = dvec3(a.w, b.w, c.w);
#ifdef EXTENDED
    vec3 beyond = vec3(perspective ? edge / depths : edge);
    here.extended = beyond / (beyond.x + beyond.y + beyond.z);
#endif

    edge = max(edge, dvec3(0.0));
    dvec3 image = edge / (edge.x + edge.y + edge.z);
    dvec3 weight = perspective ? image / depths : image;
    weight /= weight.x + weight.y + weight.z;
    here.weights = vec3(weight);
    here.distance = vec3(edge) / vec3(length(c.xy - b.xy), length(a.xy - c.xy), length(b.xy - a.xy));
    here.depth = float(dot(weight, depths));
    gl_FragDepth = float(dot(image, dvec3(a.z, b.z, c.z)));
    return here;
}

vec3 interpolated(samplerBuffer values, ivec3 corners, vec3 weights) {
    return weights.x * texelFetch(values, corners.x).xyz + weights.y * texelFetch(values, corners.y).xyz
         + weights.z * texelFetch(values, corners.z).xyz;
}
