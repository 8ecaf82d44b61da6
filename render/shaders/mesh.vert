// Puts corners where the CPU projected them, to the last bit.
//
// The viewport is REACH px wide and high, a power of two, with the image at its middle. So x and y here are multiples
// of 2^-21 below 1, the viewport's multiplication by REACH / 2 and its shift by whole pixels are exact in single
// precision, and the hardware's own rounding to 1/256 px finds nothing to round. Nothing within REACH / 2 px of the
// image is ever clipped. w stays 1: dividing by a depth would round; perspective enters in surface.glsl instead.

#include "mesh.glsl"

uniform vec2 middle;  // px, whole: the image's middle
uniform float reach;  // px

void main() {
    vec2 centre = texelFetch(positions, gl_VertexID).xy + 0.5;  // OpenGL's pixel centres are at halves
    gl_Position = vec4((centre - middle) * (2.0 / reach), 0.0, 1.0);
}
