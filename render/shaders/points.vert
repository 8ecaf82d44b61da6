// The mesh's vertices as discs, a little nearer than the surface that they lie on.

#include "mesh.glsl"

uniform samplerBuffer colours;
uniform vec2 middle;
uniform float reach;
uniform float diameter;  // px
uniform float lift;      // of the depth key, relative

flat out vec3 reflectance;

void main() {
    vec4 p = texelFetch(positions, gl_VertexID);
    gl_Position = vec4((p.xy + 0.5 - middle) * (2.0 / reach), 2.0 * p.z * (1.0 + lift) - 1.0, 1.0);
    gl_PointSize = diameter + 1.0;
    reflectance = texelFetch(colours, gl_VertexID).rgb;
}
