"""camera.json: the camera of a photo in the forms that other software takes.

All map a point X of the model frame (mm, y up) onto the upright photo of W x H px. Pixel coordinates (u, v) are those
of pixel centres: (0, 0) is the centre of the first pixel, u right, v down. Matrices are lists of rows and multiply
column vectors. With R the rotation into OpenCV's camera frame (x right, y down, z forward):

scaled_orthographic   u = scale (R X)_xy + translation                 scale in px/mm, translation in px
affine                (u, v, 1) = P (X, 1)                             P (3, 4): the same as one matrix
opencv                w (u, v, 1) = K (R X + t)                        K in px, t in mm
opengl                clip = projection view (X, 1),  ndc = clip_xyz / clip_w,
                      u = W (ndc_x + 1) / 2 - 1/2,  v = H (1 - ndc_y) / 2 - 1/2

view leads to OpenGL's eye frame (x right, y up, z towards the viewer); the last line is glViewport(0, 0, W, H) read
from the top row down, a pixel's centre being half a pixel inside. ndc_z runs from -1 at `near` to 1 at `far`.

A scaled orthographic camera is no pinhole. Its `opencv` form is a telephoto lens that stands for it: through the
mesh's middle m = (x0, y0, z0) of the camera frame, from a distance D,

    t = (-x0, -y0, D - z0),    f = scale D,    c = translation + scale (x0, y0)
    |u_pinhole - u| = scale |(x - x0, y - y0)| |z - z0| / (D + z - z0)

with D so that this is at most PINHOLE_ERROR at every vertex. D is kilometres, so it needs double precision; what wants
single precision takes `opengl` or `scaled_orthographic`, which are exact. A perspective camera has `opencv` and
`opengl`, both exact; the others are null.

Sources: R. Hartley and A. Zisserman, "Multiple View Geometry", 2nd ed., 6.1 and 6.3 (cameras, affine cameras);
"The OpenGL Graphics System", 4.6, 13.8 (clip coordinates and viewport).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...fitting.results import FitResult
from ...models.errors import InvalidInputError
from ...models.files import atomic_write
from ...render.cameras import FRONTAL, Perspective, ScaledOrthographic
from .checks import Array, FittedFace, checked_image_size, fitted_face

PINHOLE_ERROR = 0.004
"""Largest distance, px, of the telephoto pinhole's image of a vertex from the orthographic one's."""

_SCHEMA = 1
_MARGIN = 0.1  # of the mesh's depth, mm per mm: how far near and far stand off it


def camera_document(result: FitResult, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return the camera of `result` in all forms (see the module's text), as JSON types.

    `image_size` is the photo's (height, width) in px, upright, as `image.shape[:2]`. Raises InvalidInputError for a
    result without a face, and for a perspective camera that has a vertex behind it.
    """
    face = fitted_face(result)
    height, width = checked_image_size(image_size)
    camera = face.camera
    forms = _orthographic(camera, face) if isinstance(camera, ScaledOrthographic) else _perspective(camera, face)
    view, projection, near, far = _opengl(face, height, width)
    return {
        "schema": _SCHEMA,
        "image": {"width": width, "height": height, "origin": "centre of the first pixel, u right, v down"},
        "units": {"model": "mm", "image": "px", "matrices": "lists of rows, for column vectors"},
        "kind": camera.kind,
        **forms,
        "opengl": {
            "view": view.tolist(),
            "projection": projection.tolist(),
            "viewport": [0, 0, width, height],
            "near": near,
            "far": far,
        },
    }


def write_camera(path: str | Path, result: FitResult, image_size: tuple[int, int]) -> None:
    """Write `camera_document` to `path` (.json); OutputError where it cannot be written."""
    content = json.dumps(camera_document(result, image_size), indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(content.encode())


def _orthographic(camera: ScaledOrthographic, face: FittedFace) -> dict[str, Any]:
    """Return the exact forms of a scaled orthographic camera and the pinhole that stands for it."""
    affine = np.zeros((3, 4))
    affine[:2, :3] = camera.scale * camera.rotation[:2]
    affine[:, 3] = (*camera.translation, 1.0)
    seen = camera.to_camera(face.vertices)
    middle = 0.5 * (seen.min(axis=0) + seen.max(axis=0))
    offset = seen - middle
    depth = np.abs(offset[:, 2])
    distance = float((camera.scale * np.hypot(*offset[:, :2].T) * depth / PINHOLE_ERROR + depth).max()) + 1.0
    centre = camera.translation + camera.scale * middle[:2]
    translation = np.array([0.0, 0.0, distance]) - middle
    pinhole = Perspective(camera.rotation, translation, camera.scale * distance, centre)
    error = np.hypot(*(pinhole.project(face.vertices) - camera.project(face.vertices))[:, :2].T).max()
    return {
        "scaled_orthographic": {
            "rotation": camera.rotation.tolist(),
            "translation": camera.translation.tolist(),
            "scale": camera.scale,
        },
        "affine": affine.tolist(),
        "opencv": _opencv(pinhole) | {"exact": False, "largest_error": float(error)},
    }


def _perspective(camera: Perspective, face: FittedFace) -> dict[str, Any]:
    nearest = float(camera.to_camera(face.vertices)[:, 2].min())
    if nearest <= 0.0:
        raise InvalidInputError(f"result: expected every vertex before the camera, got one at depth {nearest:g} mm")
    exact = {"exact": True, "largest_error": 0.0}
    return {"scaled_orthographic": None, "affine": None, "opencv": _opencv(camera) | exact}


def _opencv(camera: Perspective) -> dict[str, Any]:
    (x, y), f = camera.principal_point.tolist(), camera.focal
    return {
        "K": [[f, 0.0, x], [0.0, f, y], [0.0, 0.0, 1.0]],
        "R": camera.rotation.tolist(),
        "t": camera.translation.tolist(),
    }


def _opengl(face: FittedFace, height: int, width: int) -> tuple[Array, Array, float, float]:
    """Return view (4, 4), projection (4, 4) and the distances, mm, of the near and the far plane."""
    camera = face.camera
    depth = camera.to_camera(face.vertices)[:, 2]
    nearest, farthest = float(depth.min()), float(depth.max())
    margin = _MARGIN * (farthest - nearest) + 1.0
    view = np.eye(4)
    view[:3, :3] = FRONTAL @ camera.rotation
    if isinstance(camera, Perspective):
        view[:3, 3] = FRONTAL @ camera.translation
        near, far = max(nearest - margin, 0.5 * nearest), farthest + margin
        x, y = _ndc(camera.principal_point, height, width)
        projection = np.zeros((4, 4))
        projection[0, [0, 2]] = 2.0 * camera.focal / width, -x
        projection[1, [1, 2]] = 2.0 * camera.focal / height, -y
        projection[2, 2:] = -(far + near) / (far - near), -2.0 * far * near / (far - near)
        projection[3, 2] = -1.0
        return view, projection, near, far
    # The eye's distance means nothing here: the near plane stands `margin` before it.
    view[2, 3] = nearest - 2.0 * margin
    near, far = margin, farthest - nearest + 3.0 * margin
    projection = np.diag([2.0 * camera.scale / width, 2.0 * camera.scale / height, -2.0 / (far - near), 1.0])
    projection[:2, 3] = _ndc(camera.translation, height, width)
    projection[2, 3] = -(far + near) / (far - near)
    return view, projection, near, far


def _ndc(pixel: Array, height: int, width: int) -> Array:
    """Return the normalised device coordinates of a point (2,) px."""
    return np.array([2.0 * (pixel[0] + 0.5) / width - 1.0, 1.0 - 2.0 * (pixel[1] + 0.5) / height])
