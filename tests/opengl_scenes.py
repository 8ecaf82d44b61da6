"""Meshes and views for the tests of the OpenGL pipeline."""

import numpy as np
from numpy.typing import NDArray

from facefit.models.morphable_model import UVMap
from facefit.render.cameras import Camera, Perspective, ScaledOrthographic, rotation_from_angles

Array = NDArray[np.float64]

PIXELS = ScaledOrthographic(np.eye(3), np.zeros(2), 1.0)  # the model frame is the image: px, px, depth
PINHOLE = Perspective(np.eye(3), np.zeros(3), 80.0, np.array([44.0, 36.0]))


def through_the_image(camera: Camera, pixels: Array) -> Array:
    """Points of the model frame that PIXELS or PINHOLE see at (px, px) and depth."""
    if isinstance(camera, ScaledOrthographic):
        return pixels
    rays = (pixels[:, :2] - camera.principal_point) / camera.focal
    return np.column_stack([rays * pixels[:, 2:], pixels[:, 2]])


def hostile_triangles(rng: np.random.Generator, count: int = 60) -> tuple[Array, NDArray[np.int64]]:
    """Overlapping triangles over an image of 72 x 88 px: ordinary, needles, sub-pixel, off it, flat, on grid."""
    corners = rng.uniform(-10.0, 98.0, (count, 3, 3))
    corners[:, :, 2] = rng.uniform(5.0, 30.0, (count, 3))
    for k in range(0, count, 6):
        corners[k, 2] = corners[k, 1] + rng.uniform(-0.2, 0.2, 3)  # a needle
        corners[k + 1] = corners[k + 1, :1] + rng.uniform(0.0, 0.9, (3, 3))  # hardly a pixel
        corners[k + 2, :, 0] -= 300.0  # off the screen
        corners[k + 3, :, :2] = np.rint(corners[k + 3, :, :2])  # corners on pixel centres
        corners[k + 4, 0, :2] *= 40.0  # a corner 4000 px away
    corners[5, 2] = 0.5 * (corners[5, 0] + corners[5, 1])  # no area
    return corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def sphere(count: int = 96) -> tuple[Array, NDArray[np.int64], UVMap]:
    """A unit sphere by longitude and latitude, counter-clockwise from outside, y up, u around and v up."""
    v, u = np.meshgrid(np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, 2 * count), indexing="ij")
    theta, phi = np.pi * v, 2.0 * np.pi * u
    vertices = np.stack([np.sin(theta) * np.sin(phi), -np.cos(theta), np.sin(theta) * np.cos(phi)], -1).reshape(-1, 3)
    a = (np.arange(count - 1)[:, None] * 2 * count + np.arange(2 * count - 1)).ravel()
    b, c, d = a + 2 * count, a + 2 * count + 1, a + 1
    triangles = np.vstack([np.column_stack([a, c, b]), np.column_stack([a, d, c])])
    return vertices, triangles, UVMap(np.stack([u, v], -1).reshape(-1, 2).astype(np.float32), triangles)


def bowl(count: int = 24) -> tuple[Array, NDArray[np.int64], UVMap]:
    """A bumpy sphere of about 60 mm without its top, so that some of its inside is seen from above."""
    vertices, triangles, uv = sphere(count)
    longitude = np.arctan2(vertices[:, 0], vertices[:, 2])
    vertices = 60.0 * vertices * (1.0 + 0.06 * np.cos(5.0 * longitude) * (1.0 - vertices[:, 1] ** 2))[:, None]
    kept = vertices[triangles][:, :, 1].max(axis=1) < 35.0
    return vertices, triangles[kept], UVMap(uv.coordinates, uv.triangles[kept])


def views(height: int, width: int, yaw: float, pitch: float, roll: float, radius: float) -> tuple[Camera, Camera]:
    """Both cameras before a mesh at the origin, which a sphere of `radius` mm contains."""
    rotation, middle = rotation_from_angles(yaw, pitch, roll), np.array([(width - 1) / 2.0, (height - 1) / 2.0])
    scale = 0.45 * min(height, width) / radius
    near = Perspective(rotation, np.array([0.0, 0.0, 6.0 * radius]), 6.0 * radius * scale, middle)
    return ScaledOrthographic(rotation, middle, scale), near
