// The mean of a pixel's samples, with straight alpha: colours come times alpha and leave without.

#if SAMPLES > 1
uniform sampler2DMS drawn;
#else
uniform sampler2D drawn;
#endif

out vec4 colour;

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
#if SAMPLES > 1
    vec4 sum = vec4(0.0);
    for (int i = 0; i < SAMPLES; ++i) sum += texelFetch(drawn, pixel, i);
    sum /= float(SAMPLES);
#else
    vec4 sum = texelFetch(drawn, pixel, 0);
#endif
    colour = sum.a > 0.0 ? vec4(sum.rgb / sum.a, sum.a) : vec4(0.0);
}
