// The unit normal in the camera frame: interpolated, then changed by a normal map or a displacement map.
//
// P(u, v) is the flat triangle's point in mm, T = dP/du and B = dP/dv, n the interpolated normal.
//
// Normal map: (r, g, b) in 0-1 stands for 2 (r, g, b) - 1 = (t, s, m) in the frame of the surface, t along u, s along v:
//     n' = normalised(t T' + s B' + m n),    T' = T without its part along n, made unit;  B' = +-n x T' on B's side.
//
// Displacement map: heights h(u, v) in mm along n. With r1 = B x n, r2 = n x T, D = T . r1, the surface's gradient of h is
//     g = (h_u r1 + h_v r2) / D,    n' = normalised(n - g).
// J. F. Blinn, Simulation of wrinkled surfaces, SIGGRAPH 1978.

uniform samplerBuffer normals;  // per vertex, unit, camera frame

#if defined(NORMAL_MAP) || defined(DISPLACEMENT_MAP)
uniform samplerBuffer points;  // per vertex: mm, camera frame

// Columns T and B.
mat2x3 tangents(ivec3 corners, mat3x2 uv) {
    vec3 a = texelFetch(points, corners.x).xyz;
    mat2x3 edges = mat2x3(texelFetch(points, corners.y).xyz - a, texelFetch(points, corners.z).xyz - a);
    mat2 sides = mat2(uv[1] - uv[0], uv[2] - uv[0]);
    return determinant(sides) == 0.0 ? mat2x3(0.0) : edges * inverse(sides);
}
#endif

#ifdef NORMAL_MAP
uniform sampler2D normal_map;

vec3 mapped(vec3 n, mat2x3 frame, vec2 uv, vec2 across, vec2 down) {
    vec3 t = frame[0] - n * dot(n, frame[0]);
    if (dot(t, t) == 0.0) return n;
    t = normalize(t);
    vec3 s = cross(n, t);
    s *= dot(s, frame[1]) < 0.0 ? -1.0 : 1.0;
    vec3 m = 2.0 * textureGrad(normal_map, uv, across, down).rgb - 1.0;
    return normalize(m.x * t + m.y * s + m.z * n);
}
#endif

#ifdef DISPLACEMENT_MAP
uniform sampler2D displacement_map;

vec3 displaced(vec3 n, mat2x3 frame, vec2 uv) {
    vec3 r1 = cross(frame[1], n), r2 = cross(n, frame[0]);
    float d = dot(frame[0], r1);
    if (d == 0.0) return n;
    vec2 size = vec2(textureSize(displacement_map, 0)), across = vec2(1.0 / size.x, 0.0), up = vec2(0.0, 1.0 / size.y);
    vec2 slope = vec2(textureLod(displacement_map, uv + across, 0.0).r - textureLod(displacement_map, uv - across, 0.0).r,
                      textureLod(displacement_map, uv + up, 0.0).r - textureLod(displacement_map, uv - up, 0.0).r)
               * 0.5 * size;
    return normalize(n - (slope.x * r1 + slope.y * r2) / d);
}
#endif
