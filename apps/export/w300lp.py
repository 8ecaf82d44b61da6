"""300W-LP's `.mat`: a fit's parameters as that data set, AFLW2000-3D and the projects around 3DDFA store them.

    pt2d         (2, 68)  float64   the points as matched, px; the first pixel's centre is (1, 1), as MATLAB counts
    roi          (1, 4)   int16     left, top, right, bottom of the picture in the photo, counted from 1: all of it
    Illum_Para   (1, 10)  float64   ambient RGB, directional RGB, its two angles, specular share and exponent
    Color_Para   (1, 7)   float32   gains RGB, offsets RGB, contrast
    Tex_Para     (199, 1) float64   coefficients of texPC
    Shape_Para   (199, 1) float64   coefficients of shapePC, micrometres
    Exp_Para     (29, 1)  float64   coefficients of expPC
    Pose_Para    (1, 7)   float32   pitch, yaw, roll (radians), tx, ty, tz (px), scale (px per micrometre)

Only a model in the layout of the Basel Face Model 2009 with 29 expressions (FaceWarehouse's, face3d's `BFM.mat`) has
these coefficients. Light and colour are written as white ambient light and no change of colour: these ten and seven
numbers of a Phong model cannot hold spherical harmonics.

Pose. A source point X (micrometres, y up, z out of the face) of a picture of height H has

    V = f R3 X + t3,    R3 = A(pitch) B(yaw) C(roll),    first pixel at 1:  x = V_x,  y = H + 1 - V_y

with A, B, C the rotations about x, y, z that are the *transposes* of the right-handed ones: 3DDFA's signs. Here, with
Y = a X + b the model frame (`source_transform`, a in mm per micrometre) and the first pixel at 0,

    u = s (R Y)_xy + t,    R = diag(1, -1, -1) R3,    f = s a
    t3 = (t_x + 1, H - t_y, z) + s R3 b

where z, the depth of the model's origin towards the viewer in px, is nothing that the camera knows. Pitch, yaw and roll
follow from R3, and never by a change of sign from the angles of `render/cameras.py`, whose order is another:

    R3 = | cos y cos r    cos y sin r       -sin y     |
         |      ...            ...       cos y sin p   |
         |      ...            ...       cos y cos p   |

Coefficients. Here they are in standard deviations of modes in mm, there they multiply the file's components, so each
is times its `EV`. A loaded model keeps the product alone: `read_deviations` reads them from the model's file. Without
them, a component's length is taken to be 1: exact for orthonormal ones, as Basel's are; face3d's expPC are not.

Sources: X. Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016, and the data set's files; the
angles as in YadiraF/face3d, `mesh/transform.py`, `angle2matrix_3ddfa`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.results import FitResult
from ...models.arrays import checked_array
from ...models.colour import decoding_slope, linear_to_srgb
from ...models.errors import InvalidInputError, ModelError
from ...models.files import atomic_write
from ...models.formats.matlab5 import read_variables
from ...models.morphable_model import MorphableModel, require_model
from ...render.cameras import FRONTAL, ScaledOrthographic
from .checks import Array, checked_image_size, fitted_face

IDENTITY, EXPRESSION, TEXTURE = 199, 29, 199
"""How many coefficients of each kind the format has."""

_SINGULAR = 1e-9  # cos(yaw) below which pitch and roll turn about one axis


@dataclass(frozen=True, eq=False)
class Deviations:
    """What one standard deviation of each coefficient is in the units of the file's components."""

    shape: Array  # (199,) micrometres
    expression: Array  # (29,)
    texture: Array  # (199,) 0-255; zeros for a model without colours


def read_deviations(path: str | Path) -> Deviations:
    """Read shapeEV, expEV and texEV of a cut-down BFM `.mat` (see models/formats/bfm_matlab.py).

    ModelError where the file is missing, damaged, or not of 199 shape and 29 expression components.
    """
    try:
        source = read_variables(Path(path), ("model",)).get("model")
    except OSError as problem:
        raise ModelError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None
    if not isinstance(source, dict) or not {"shapeEV", "expEV"} <= set(source):
        raise ModelError(f"{path}: expected a structure `model` with shapeEV and expEV, got none")
    parts = {"shapeEV": IDENTITY, "expEV": EXPRESSION, "texEV": TEXTURE}
    values = {
        name: checked_array(f"{path}: {name}", np.ravel(source.get(name, np.zeros(n))), (n,), error=ModelError)
        for name, n in parts.items()
    }
    return Deviations(values["shapeEV"], values["expEV"], values["texEV"])


def write_300wlp(
    path: str | Path,
    result: FitResult,
    model: MorphableModel,
    image_size: tuple[int, int],
    deviations: Deviations | None = None,
) -> None:
    """Write the parameters of `result`, a fit of `model` to a photo of `image_size` (height, width) px, to `path`.

    `deviations` are the model's own, see `read_deviations`; None: those of orthonormal components. Raises
    InvalidInputError for a model of another layout, a perspective camera and a result without a face, OutputError
    where the file cannot be written.
    """
    import scipy.io

    content = parameters_300wlp(result, model, image_size, deviations)
    with atomic_write(path) as file:
        scipy.io.savemat(file, content)


def parameters_300wlp(
    result: FitResult, model: MorphableModel, image_size: tuple[int, int], deviations: Deviations | None = None
) -> dict[str, NDArray[Any]]:
    """Return the variables of the file by name; arguments and errors as of `write_300wlp`."""
    require_300wlp_layout(model)
    camera = fitted_face(result).camera
    height, width = checked_image_size(image_size)
    if not isinstance(camera, ScaledOrthographic):
        raise InvalidInputError(f"result: expected a scaled orthographic camera, got {camera.kind}")
    if max(height, width) > np.iinfo(np.int16).max:
        raise InvalidInputError(f"image_size: expected sides that int16 holds, got {(height, width)}")
    points = checked_array("landmarks_fitted", result.landmarks_fitted, (68, 2))
    units = _orthonormal(model) if deviations is None else deviations
    pose = pose_to_300wlp(camera, model.source_transform, height)
    return {
        "pt2d": points.T + 1.0,
        "roi": np.array([[1, 1, width, height]], np.int16),
        "Illum_Para": np.array([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 20.0]]),
        "Color_Para": np.array([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]], np.float32),
        "Tex_Para": _scaled("albedo", result.albedo, units.texture),
        "Shape_Para": _scaled("identity", result.identity, units.shape),
        "Exp_Para": _scaled("expression", result.expression, units.expression),
        "Pose_Para": pose[None].astype(np.float32),
    }


def pose_to_300wlp(camera: ScaledOrthographic, source_transform: ArrayLike, height: int, depth: float = 0.0) -> Array:
    """Return Pose_Para (7,) of a camera: pitch, yaw, roll (radians), tx, ty, tz (px), scale (px per source unit).

    `source_transform` (4, 4) is the model's, a scale and a shift; `height` the picture's, px; `depth` that of the
    model's origin, px towards the viewer: free, since an orthographic camera does not see it.
    """
    scale, shift = _scale_and_shift(source_transform)
    rotation = FRONTAL @ camera.rotation
    yaw = np.arctan2(-rotation[0, 2], np.hypot(rotation[1, 2], rotation[2, 2]))
    if np.cos(yaw) > _SINGULAR:
        pitch = np.arctan2(rotation[1, 2], rotation[2, 2])
        roll = np.arctan2(rotation[0, 1], rotation[0, 0])
    else:  # looking straight to a side, pitch and roll are one rotation: all of it is called pitch
        pitch, roll = np.arctan2(-rotation[2, 1], rotation[1, 1]), 0.0
    origin = np.array([camera.translation[0] + 1.0, height - camera.translation[1], depth])
    place = origin + camera.scale * rotation @ shift
    return np.array([pitch, yaw, roll, *place, camera.scale * scale])


def pose_from_300wlp(pose: ArrayLike, source_transform: ArrayLike, height: int) -> tuple[ScaledOrthographic, float]:
    """Return the camera of Pose_Para (7,) or (1, 7), and the depth that `pose_to_300wlp` takes.

    `source_transform` (4, 4) is that of the model the pose is for; `height` the picture's, px.
    """
    pitch, yaw, roll, *place, size = checked_array("pose", np.ravel(pose), (7,)).tolist()
    scale, shift = _scale_and_shift(source_transform)
    rotation = rotation_of_300wlp(pitch, yaw, roll)
    px_per_mm = size / scale
    x, y, depth = (np.array(place) - px_per_mm * rotation @ shift).tolist()
    return ScaledOrthographic(FRONTAL @ rotation, np.array([x - 1.0, height - y]), px_per_mm), depth


def rotation_of_300wlp(pitch: float, yaw: float, roll: float) -> Array:
    """Return R3 (3, 3) of angles in radians: from the source's frame to x right, y up, z towards the viewer."""
    (cp, cy, cr), (sp, sy, sr) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
    about_y = np.array([[cy, 0.0, -sy], [0.0, 1.0, 0.0], [sy, 0.0, cy]])
    about_z = np.array([[cr, sr, 0.0], [-sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return about_x @ about_y @ about_z


def require_300wlp_layout(model: MorphableModel) -> None:
    """Raise InvalidInputError where a model is not in the format's layout: counts, unit and licence tell."""
    require_model(model)
    scale = float(model.source_transform[0, 0])
    counts = (model.n_identity, model.n_expression)
    basel = "Basel" in model.licence and model.n_albedo in (0, TEXTURE) and np.isclose(scale, 1e-3)
    if counts != (IDENTITY, EXPRESSION) or not basel:
        raise InvalidInputError(
            f"model: 300W-LP's parameters expected a Basel Face Model 2009 in micrometres with {IDENTITY} identity and "
            f"{EXPRESSION} expression coefficients, got {model.name!r} with {counts[0]} and {counts[1]}"
        )


def _orthonormal(model: MorphableModel) -> Deviations:
    """Return the deviations of modes whose components had length 1 in the source's units."""
    mm = float(model.source_transform[0, 0])
    colours = np.zeros(TEXTURE)
    if model.albedo is not None and model.albedo_mean is not None:
        slope = decoding_slope(linear_to_srgb(model.albedo_mean))
        colours = 255.0 * _lengths(model.albedo / slope)
    return Deviations(_lengths(model.identity) / mm, _lengths(model.expression) / mm, colours)


def _lengths(modes: NDArray[Any]) -> Array:
    flat = modes.reshape(len(modes), -1).astype(np.float64)
    return np.sqrt(np.einsum("kn,kn->k", flat, flat))


def _scaled(name: str, coefficients: Array | None, deviations: Array) -> Array:
    """Return coefficients in standard deviations as a column (K, 1) in the file's units; zeros for None."""
    if coefficients is None:
        return np.zeros((len(deviations), 1))
    return (checked_array(name, coefficients, deviations.shape) * deviations)[:, None]


def _scale_and_shift(source_transform: ArrayLike) -> tuple[float, Array]:
    """Return a (mm per source unit) and b (3,) mm of Y = a X + b; InvalidInputError for any other transform."""
    matrix = checked_array("source_transform", source_transform, (4, 4))
    scale = float(matrix[0, 0])
    expected = np.diag([scale, scale, scale, 1.0])
    expected[:3, 3] = matrix[:3, 3]
    if scale <= 0.0 or not np.allclose(matrix, expected, rtol=1e-9, atol=0.0):
        raise InvalidInputError("source_transform: expected a positive scale and a shift, got another transform")
    return scale, matrix[:3, 3]
