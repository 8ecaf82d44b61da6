// A picture in a window: row 0, an image's top, is a framebuffer's bottom, so a window needs it turned over. This is
// the only place that does; every other target keeps the image's row order, and so does read-back.

uniform sampler2D picture;
uniform vec2 size;  // px of the window

out vec4 colour;

void main() { colour = vec4(texture(picture, vec2(gl_FragCoord.x, size.y - gl_FragCoord.y) / size).rgb, 1.0); }
