"""From fragments to colours: studio light for looking at geometry, spherical harmonics for looking like the photo.

Both shade smooth normals, interpolated from the vertices, in the camera frame (x right, y down, z away from the
viewer), in linear light, and encode to sRGB at the end.

Studio light on a normal n, with the viewer in direction v = (0, 0, -1):

    albedo * (ambient + sum over lamps of strength max(n.d, 0))  +  rim (1 - max(n.v, 0))^3 (1 - n_y) / 2

a strong key lamp from above on the left, a weak fill from the right, and a rim that lifts the upper outline.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.colour import linear_to_srgb
from . import spherical_harmonics
from .cameras import Camera
from .mesh import checked_mesh
from .normals import given_normals, normalised
from .rasterizer import Fragments, interpolate

Array = NDArray[np.float64]

CLAY = (0.50, 0.47, 0.44)  # linear reflectance of a mesh without colours
LAMPS = normalised(np.array([[-0.45, -0.60, -0.70], [0.75, -0.10, -0.60]]))  # (2, 3) directions to key and fill
STRENGTHS = (0.85, 0.22)  # radiance of white under the lamp alone, head on
AMBIENT = 0.12
RIM = 0.12


def shade_studio(normals: ArrayLike, albedo: ArrayLike) -> Array:
    """Return the linear radiance (..., 3) of unit normals (..., 3), camera frame, under studio light.

    `albedo` is linear reflectance, (..., 3) or what broadcasts to it.
    """
    x, y, z = np.moveaxis(np.asarray(normals, dtype=np.float64), -1, 0)
    diffuse = np.full_like(x, AMBIENT)
    for (to_x, to_y, to_z), strength in zip(LAMPS, STRENGTHS, strict=True):
        diffuse += strength * np.maximum(x * to_x + y * to_y + z * to_z, 0.0)
    grazing = 1.0 - np.maximum(-z, 0.0)
    rim = RIM * grazing * grazing * grazing * (1.0 - y) / 2.0
    return np.asarray(albedo, dtype=np.float64) * diffuse[..., None] + rim[..., None]


def shade_fragments(
    fragments: Fragments,
    camera: Camera,
    vertices: ArrayLike,
    triangles: ArrayLike,
    *,
    colours: ArrayLike | None = None,
    lighting: ArrayLike | None = None,
    normals: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Return the picture (H, W, 4) of fragments: sRGB 0-1 and coverage 0 or 1, all zero where nothing is seen.

    colours (N, 3) is linear reflectance 0-1 per vertex, None for clay; lighting (9, 3) is spherical harmonics in the
    camera frame (see `spherical_harmonics`), None for studio light. normals (N, 3): unit, model frame, None for the
    mesh's own.
    """
    points, faces = checked_mesh(vertices, triangles)
    surface = given_normals(normals, points, faces) @ camera.rotation.T
    if colours is not None:
        surface = np.hstack([surface, checked_array("colours", colours, (len(points), 3))])
    covered = fragments.covered
    seen = interpolate(fragments, faces, surface)[covered]
    smooth = normalised(seen[:, :3])
    albedo = CLAY if colours is None else seen[:, 3:]
    radiance = shade_studio(smooth, albedo) if lighting is None else spherical_harmonics.shade(smooth, albedo, lighting)
    picture = np.zeros((*covered.shape, 4), np.float32)
    picture[covered, :3] = linear_to_srgb(radiance)
    picture[covered, 3] = 1.0
    return picture
