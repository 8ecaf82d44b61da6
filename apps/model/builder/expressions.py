"""The default model's expression units: blendshapes under the names of ARKit's face tracking, made of MakeHuman's.

A unit's displacement is a weighted sum of MakeHuman's targets: of its 34 expression units, each the mean of three
ancestries' versions, and where these have nothing alike, of targets made for shape. RECIPES lists them. MakeHuman's
mouth moves on both sides at once; a unit of one side takes the share 1 / (1 + exp(-x / 5 mm)) of it, so that left and
right add up to the whole. What no target holds is made here:

    eyeLook...      the eyeball turns about its centre, and the upper lid follows up and down
    jawOpen         the lower teeth move rigidly: the rotation and translation nearest to their target's motion (Kabsch)
    jawForward,     each vertex slides with the share it has in the opening jaw: its motion there by what that would be
    jawLeft/Right   if it moved rigidly with the lower teeth
    mouthClose      takes jawOpen back where the lips meet, and less and less away from there
    mouthRoll...    a lip's skin at distance d from where the lips meet moves towards there by 0.6 d exp(-d^2 / 2 w^2),
                    which keeps its order, and some way back

Units are made for the left side and the middle. Those of the right are their mirror images, those of the middle the
mean of themselves and theirs, so that all mirror exactly.

Names: ARFaceAnchor.BlendShapeLocation, Apple's ARKit; left and right are the subject's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .head import Head
from .makehuman import MakeHuman
from .population import ANCESTRY, SIZE

Array = NDArray[np.float64]

ARKIT_NAMES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft",
    "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 names in ARKit's order. The head has no tongue, so that there is no `tongueOut`."""

USUAL_SIGMA, ROUGH_SIGMA = 0.3, 0.2
SIGMA: Mapping[str, float] = {
    "eyeBlinkLeft": 0.4,
    "jawOpen": 0.25,
    "mouthClose": 0.1,
    "jawForward": ROUGH_SIGMA,
    "jawLeft": ROUGH_SIGMA,
    "mouthLeft": ROUGH_SIGMA,
    "mouthDimpleLeft": ROUGH_SIGMA,
    "mouthShrugUpper": ROUGH_SIGMA,
    "mouthPressLeft": ROUGH_SIGMA,
    "mouthRollLower": ROUGH_SIGMA,
    "mouthRollUpper": ROUGH_SIGMA,
    "cheekPuff": ROUGH_SIGMA,
    "cheekSquintLeft": ROUGH_SIGMA,
}
"""Prior standard deviation of a weight where it is not the usual one, small for units that are rare or only roughly
what their names say; the right side's is the left's."""


class Part(Enum):
    """Where a recipe's sum applies."""

    SKIN = auto()
    HEAD = auto()  # skin and teeth
    SIDE = auto()  # the left half of the skin
    UPPER = auto()  # the skin above the line along which the lips meet
    LOWER = auto()  # below
    UPPER_SIDE = auto()
    LOWER_SIDE = auto()


@dataclass(frozen=True)
class Recipe:
    """A sum of MakeHuman's targets; a bare name is that of an expression unit."""

    terms: Mapping[str, float]  # target -> weight
    part: Part = Part.SKIN


@dataclass(frozen=True, eq=False)
class Unit:
    """A blendshape; its weight lies between 0 and `upper`."""

    name: str  # one of ARKIT_NAMES
    displacement: Array  # (N, 3) mm at weight 1
    sigma: float  # prior standard deviation of the weight
    upper: float = 1.0


RECIPES: Mapping[str, Recipe] = {
    "eyeBlinkLeft": Recipe({"eye-left-closure": 1.2}),
    "eyeSquintLeft": Recipe({"eye-left-slit": 0.55}),
    "eyeWideLeft": Recipe({"eye-left-opened-up": 1.0}),
    "jawOpen": Recipe({"mouth-open": 0.7}, Part.HEAD),
    "mouthFunnel": Recipe({"mouth-protusion": 0.8}),
    "mouthPucker": Recipe({"mouth-pursing": 1.0}),
    "mouthLeft": Recipe({"mouth/mouth-trans-out": 0.85}),
    "mouthSmileLeft": Recipe({"mouth-corner-puller": 1.0}, Part.SIDE),
    "mouthFrownLeft": Recipe({"mouth-depression": 1.0}, Part.SIDE),
    "mouthDimpleLeft": Recipe({"mouth-retraction": 0.5, "mouth/mouth-dimples-in": 1.0}, Part.SIDE),
    "mouthStretchLeft": Recipe({"mouth-retraction": 1.0}, Part.SIDE),
    "mouthShrugLower": Recipe({"mouth-eversion": 1.0}, Part.LOWER),
    "mouthShrugUpper": Recipe({"mouth/mouth-upperlip-middle-up": 0.8, "mouth/mouth-trans-forward": 0.2}, Part.UPPER),
    "mouthPressLeft": Recipe({"mouth-compression": 0.8}, Part.SIDE),
    "mouthLowerDownLeft": Recipe({"mouth-depression-retraction": 1.0}, Part.LOWER_SIDE),
    "mouthUpperUpLeft": Recipe({"mouth-elevation": 1.0}, Part.UPPER_SIDE),
    "browDownLeft": Recipe({"eyebrows-left-down": 1.0}),
    "browInnerUp": Recipe({"eyebrows-left-inner-up": 1.0, "eyebrows-right-inner-up": 1.0}),
    "browOuterUpLeft": Recipe({"eyebrows-left-extern-up": 1.0}),
    "cheekPuff": Recipe({"cheek/l-cheek-volume-inflate": 0.8, "cheek/r-cheek-volume-inflate": 0.8}),
    "cheekSquintLeft": Recipe({"cheek/l-cheek-trans-vert-up": 1.0, "eye-left-slit": 0.2}),
    "noseSneerLeft": Recipe({"nose-left-elevation": 1.0}),
}
"""Name -> recipe, of the left side and the middle. The blink is extended: at 1.0, one person in 25 peeps."""

SIDE_WIDTH_MM = 5.0
GAZE: Mapping[str, tuple[float, float, float]] = {
    "eyeLookDownLeft": (30.0, 0.0, 0.35),
    "eyeLookUpLeft": (-22.0, 0.0, -0.2),
    "eyeLookInLeft": (0.0, -30.0, 0.0),
    "eyeLookOutLeft": (0.0, 30.0, 0.0),
}
"""Name -> degrees about the x-axis, about the y-axis, and how much of a blink the upper lid makes with it."""
JAW_SLIDES_MM: Mapping[str, tuple[float, float, float]] = {"jawForward": (0.0, 0.0, 6.0), "jawLeft": (6.0, 0.0, 0.0)}
JAW_AXIS_MM = 4.0
"""Where opening the jaw moves a point by less than this, near the axis, its share in the jaw's motion fades."""
MOUTH_CLOSE_MM = 13.0
"""Width of the Gaussian of the distance from the lips by which mouthClose takes jawOpen back."""
ROLL, ROLL_WIDTH_MM, ROLL_BACK_MM = 0.6, 8.0, 1.2
"""How a lip rolls: factor and width w of its motion towards the line along which the lips meet; the way back."""


def expression_units(source: MakeHuman, head: Head, mean: Array) -> list[Unit]:
    """Return the units in the order of ARKIT_NAMES, for a population with the neutral face `mean` (N, 3), mm.

    `mean` is symmetric and of the population's SIZE; only its eyeballs and teeth matter, wherever its origin is.
    """
    masks = _masks(head)
    made = {name: _mixed(source, head, recipe, masks) for name, recipe in RECIPES.items()}
    jaw = _JawMotion.of(source, head, mean, made["jawOpen"])
    made["jawOpen"] = jaw.displacement
    made |= {name: jaw.share[:, None] * slide for name, slide in JAW_SLIDES_MM.items()}
    made["mouthClose"] = -_near_lips(head)[:, None] * jaw.displacement
    made["mouthRollUpper"], made["mouthRollLower"] = (
        masks[part][:, None] * _rolled(head) for part in (Part.UPPER, Part.LOWER)
    )
    for name, (pitch, yaw, blink) in GAZE.items():
        made[name] = _turned_eyeball(head, mean, pitch, yaw) + blink * made["eyeBlinkLeft"]
    units = []
    for name in ARKIT_NAMES:
        left = name.removesuffix("Right") + "Left" if name.endswith("Right") else name
        if left in made:
            units.append(Unit(name, _symmetrised(name, made[left], head), SIGMA.get(left, USUAL_SIGMA)))
    return units


def _symmetrised(name: str, displacement: Array, head: Head) -> Array:
    """Return a unit of the left as it is or mirrored to the right, and one of the middle made its own mirror image."""
    mirrored = displacement[head.mirror] * (-1.0, 1.0, 1.0)
    if name.endswith("Left"):
        return displacement
    return mirrored if name.endswith("Right") else 0.5 * (displacement + mirrored)


def _mixed(source: MakeHuman, head: Head, recipe: Recipe, masks: Mapping[Part, Array]) -> Array:
    """Return a recipe's displacement (N, 3), mm."""
    chosen = np.sum([weight * _target(source, name)[head.source] for name, weight in recipe.terms.items()], axis=0)
    return SIZE * masks[recipe.part][:, None] * head.displacement(chosen)


def _target(source: MakeHuman, name: str) -> Array:
    """Return a target by its name, or an expression unit's mean over the ancestries' versions: (V, 3) mm."""
    if "/" in name:
        return source.target(name)
    return np.mean([source.target(f"expression/units/{ancestry}/{name}") for ancestry in ANCESTRY], axis=0)


def _masks(head: Head) -> dict[Part, Array]:
    """Return the weight (N,) of every vertex in each part of the head, decided on the base mesh."""
    skin = head.is_skin.astype(np.float64)
    side = skin * _logistic(head.vertices(head.base)[:, 0] / SIDE_WIDTH_MM)
    upper = _upper_share(head)
    return {
        Part.SKIN: skin,
        Part.HEAD: np.where(head.is_eye, 0.0, 1.0),
        Part.SIDE: side,
        Part.UPPER: skin * upper,
        Part.LOWER: skin * (1.0 - upper),
        Part.UPPER_SIDE: side * upper,
        Part.LOWER_SIDE: side * (1.0 - upper),
    }


def _upper_share(head: Head) -> Array:
    """Return the weight (N,) of the part above the lips' line: 0 or 1 at the lips, softer with distance from them."""
    above = (head.vertices(head.base) - _lip_line(head))[:, 1]
    share = _logistic(above / (0.3 + 0.25 * _lip_distance(head)))
    for lip, value in zip(_lips(head), (1.0, 0.0), strict=True):
        share[lip] = value
    return share


def _lips(head: Head) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the vertices of the lips' line, without its corners: the upper lip's and the lower lip's."""
    x = head.vertices(head.base)[head.lip_ring, 0]
    left, right = int(x.argmax()), int(x.argmin())
    return np.concatenate([head.lip_ring[right + 1 :], head.lip_ring[:left]]), head.lip_ring[left + 1 : right]


def _lip_line(head: Head) -> Array:
    """Return the point (N, 3), mm, of the line midway between the lips at each vertex's x; its end for those beyond."""
    base = head.vertices(head.base)
    corners = np.setdiff1d(head.lip_ring, np.concatenate(_lips(head)))
    lips = []
    for lip in _lips(head):
        line = base[np.concatenate([lip, corners])]
        line = line[np.argsort(line[:, 0])]
        lips.append(np.stack([np.interp(base[:, 0], line[:, 0], line[:, axis]) for axis in range(3)], axis=1))
    return np.mean(lips, axis=0)


def _rolled(head: Head) -> Array:
    """Return the displacement (N, 3), mm, of either lip rolled inwards."""
    inwards = SIZE * (_lip_line(head) - head.vertices(head.base)) * (0.0, 1.0, 1.0)
    inwards[head.lip_ring] = 0.0
    near = np.exp(-0.5 * (_lip_distance(head) / ROLL_WIDTH_MM) ** 2)[:, None]
    return near * (ROLL * inwards - (0.0, 0.0, ROLL_BACK_MM))


def _near_lips(head: Head) -> Array:
    """Return the weight (N,) of the skin by its distance from the line along which the lips meet: 1 there."""
    return np.where(head.is_skin, np.exp(-0.5 * (_lip_distance(head) / MOUTH_CLOSE_MM) ** 2), 0.0)


def _lip_distance(head: Head) -> Array:
    """Return how far (N,), mm, the base mesh's vertices are from the nearest vertex of the lips' line."""
    base = head.vertices(head.base)
    return np.linalg.norm(base[:, None] - base[head.lip_ring], axis=2).min(axis=1)


def _turned_eyeball(head: Head, mean: Array, pitch: float, yaw: float) -> Array:
    """Return the displacement (N, 3), mm, of the left eyeball turned about its centre; positive looks down and left."""
    base = head.vertices(head.base)
    eye = head.is_eye & (base[:, 0] > 0.0)
    around = mean[eye] - 0.5 * (mean[eye].max(axis=0) + mean[eye].min(axis=0))
    displacement = np.zeros_like(mean)
    displacement[eye] = Rotation.from_euler("xy", [pitch, yaw], degrees=True).apply(around) - around
    return displacement


@dataclass(frozen=True, eq=False)
class _JawMotion:
    """How the head moves with the opening jaw."""

    displacement: Array  # (N, 3) mm, jawOpen at weight 1, the lower teeth rigid
    share: Array  # (N,) share of a vertex in the jaw's rigid motion: 1 for the lower teeth, 0 for the skull

    @classmethod
    def of(cls, source: MakeHuman, head: Head, mean: Array, opening: Array) -> "_JawMotion":
        """Find the rigid motion of the lower teeth, and every vertex's share in it, from a displacement (N, 3)."""
        teeth = np.isin(head.source[: head.surfaces], source.quads["helper-lower-teeth"]).nonzero()[0]
        start, end = mean[teeth].mean(axis=0), (mean + opening)[teeth].mean(axis=0)
        turn, _ = Rotation.align_vectors((mean + opening)[teeth] - end, mean[teeth] - start)
        rigid = turn.apply(mean - start) + end - mean
        length = np.linalg.norm(rigid, axis=1)
        share = np.linalg.norm(opening, axis=1) * length / (length**2 + JAW_AXIS_MM**2)
        share = np.where(head.is_skin, np.minimum(share, 1.0), 0.0)
        share[teeth] = 1.0
        displacement = opening.copy()
        displacement[teeth] = rigid[teeth]
        return cls(displacement, share)


def _logistic(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
