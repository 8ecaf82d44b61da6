// Studio light: two lamps and a rim; the same as ../shading.py, which explains it.

uniform vec3 to_lamps[2];  // unit directions, camera frame
uniform float strengths[2];
uniform float ambient;
uniform float rim;

vec3 studio(vec3 n, vec3 albedo) {
    float diffuse = ambient + strengths[0] * max(dot(n, to_lamps[0]), 0.0) + strengths[1] * max(dot(n, to_lamps[1]), 0.0);
    float grazing = 1.0 - max(-n.z, 0.0);
    return albedo * diffuse + rim * grazing * grazing * grazing * (1.0 - n.y) / 2.0;
}
