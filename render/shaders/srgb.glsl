// Display values of linear light (IEC 61966-2-1); the same as ../colour.py.

vec3 linear_to_srgb(vec3 linear) {
    vec3 value = clamp(linear, 0.0, 1.0);
    vec3 power = 1.055 * pow(max(value, vec3(1e-9)), vec3(1.0 / 2.4)) - 0.055;
    return mix(12.92 * value, power, greaterThan(value, vec3(0.0031308)));
}
