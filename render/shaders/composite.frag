// A drawn picture, straight alpha, over a photo: photo (1 - a) + colour a, in display values; the same as
// ../compositing.py.

uniform sampler2D photo;
uniform sampler2D drawn;
uniform float opacity;

out vec4 colour;

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    vec4 above = texelFetch(drawn, pixel, 0);
    colour = vec4(mix(texelFetch(photo, pixel, 0).rgb, above.rgb, above.a * opacity), 1.0);
}
