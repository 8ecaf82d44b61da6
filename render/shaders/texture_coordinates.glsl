// Texture coordinates with seams: corners index a list of their own.

uniform samplerBuffer coordinates;            // (u, v), origin at the texture's bottom left
uniform isamplerBuffer coordinate_triangles;  // per triangle: its corners' coordinates

mat3x2 corner_coordinates() {
    ivec3 corners = texelFetch(coordinate_triangles, gl_PrimitiveID).xyz;
    return mat3x2(texelFetch(coordinates, corners.x).xy, texelFetch(coordinates, corners.y).xy,
                  texelFetch(coordinates, corners.z).xy);
}
