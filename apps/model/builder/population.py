"""A population of plausible adults made of MakeHuman's targets, and its principal components.

A person mixes ancestry, sex and age (MakeHuman's "macro" targets), then takes a normal share of each of some ninety
symmetric pairs of opposite local targets and of the asymmetric ones, and a size. `calibration.py` says by how much the
pairs' mean weights differ from zero, so that breadths and heights come out as in surveys of adults. Every person is
added once more mirrored, which makes the mean symmetric and each principal component either symmetric or antisymmetric;
all are aligned rigidly on the frontal face first, since the macro targets also move the head to the height of the body.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .head import Head
from .makehuman import MakeHuman

Array = NDArray[np.float64]

SIZE, SIZE_DEVIATION = 1.07, 0.04
"""Size of the population relative to MakeHuman's heads, which are small for adults, and its standard deviation."""
ANCESTRY = {"caucasian": 0.65, "african": 0.15, "asian": 0.20}
"""Mean shares; a person's are Dirichlet with 1.5 times these, so that a third have 0.9 or more of one and a third
less than two thirds of any."""
CONCENTRATION = 1.5
SEX_BETA = 0.4
"""The share of `male` is Beta(0.4, 0.4): mostly near zero or one."""
OLDEST = 0.6
"""The share of `old` is uniform up to this."""
OPPOSITES = [
    ("less", "more"), ("in", "out"), ("down", "up"), ("decr", "incr"), ("min", "max"), ("backward", "forward"),
    ("concave", "convex"), ("small", "big"), ("deflate", "inflate"), ("decrease", "increase"),
    ("compress", "uncompress"), ("lesshump", "morehump"), ("lessgreek", "moregreek"), ("skinny", "fat"),
    ("point", "potato"),
]  # fmt: skip
LOCAL_GROUPS = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "neck", "ears")
LEFT_OUT = ("head-trans", "head-angle", "head-age", "neck-trans", "mouth-angles", "ear-shape", "nose-trans-horiz")
"""Prefixes (sides ignored) of pairs that leave the range of people or that alignment removes anyway."""
DEVIATION, PEAK_MM = 0.25, 2.2
"""Standard deviation of a pair's weight, and of the largest motion it may make: the smaller of the two holds."""
DEVIATIONS = {"head-scale": 0.20, "ear": 0.06, "head-back": 0.06}
"""Other deviations, by prefix."""
ASYMMETRY_MM = 0.5
"""Standard deviation of the largest motion of an asymmetric target."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two opposite targets, both sides of the face alike; a weight w adds |w| times the one of its sign."""

    name: str
    low: Array  # (n, 3) mm at w = -1
    high: Array  # (n, 3) mm at w = 1
    deviation: float  # standard deviation of w


def draw_population(
    source: MakeHuman, head: Head, count: int, rng: np.random.Generator, offsets: Mapping[str, float]
) -> Array:
    """Return `count` people and their mirror images (2 count, N, 3), mm, lips closed, aligned on the frontal face.

    `offsets` adds to the mean weight of pairs, by name.
    """
    pairs = opposite_pairs(source, head) + asymmetric_pairs(source, head)
    people = np.empty((2 * count, head.n_vertices, 3))
    for k in range(count):
        chosen = head.base + _macro(source, head, rng)
        for pair in pairs:
            weight = offsets.get(pair.name, 0.0) + pair.deviation * rng.standard_normal()
            chosen += abs(weight) * (pair.high if weight > 0.0 else pair.low)
        people[k] = head.closed(head.vertices(chosen)) * (SIZE + SIZE_DEVIATION * rng.standard_normal())
    people[count:] = people[:count, head.mirror] * (-1.0, 1.0, 1.0)
    return aligned(people, frontal_face(head))


def frontal_face(head: Head) -> NDArray[np.bool_]:
    """Return the skin (N,) no further than 35 mm behind the front of the eyeballs on the base mesh."""
    eyes = head.vertices(head.base)[head.is_eye]
    return head.is_skin & (head.vertices(head.base)[:, 2] > eyes[:, 2].max() - 35.0)


def opposite_pairs(source: MakeHuman, head: Head) -> list[Pair]:
    """Return the symmetric pairs of opposite local targets with the standard deviation of their weight."""
    names = {name for folder in LOCAL_GROUPS for name in source.group(folder)}
    pairs = []
    for name in sorted(names):
        stem, _, word = name.rpartition("-")
        opposite = next((high for low, high in OPPOSITES if low == word), None)
        bare = stem.partition("/")[2].removeprefix("l-")
        if opposite is None or f"{stem}-{opposite}" not in names or "/r-" in stem or bare.startswith(LEFT_OUT):
            continue
        low, high = (_both_sides(source, head, full) for full in (name, f"{stem}-{opposite}"))
        usual = next((value for prefix, value in DEVIATIONS.items() if bare.startswith(prefix)), DEVIATION)
        pairs.append(Pair(f"{bare}-{word}/{opposite}", low, high, min(usual, PEAK_MM / _peak(low, high))))
    return pairs


def asymmetric_pairs(source: MakeHuman, head: Head) -> list[Pair]:
    """Return the asymmetric targets, each against its counterpart of the other side."""
    pairs = []
    for name in source.group("asym"):
        if name.startswith("asym/asym-") and name.endswith("-l"):
            low, high = (source.target(full)[head.source] for full in (name, f"{name[:-1]}r"))
            pairs.append(Pair(name.partition("/")[2], low, high, ASYMMETRY_MM / _peak(low, high)))
    return pairs


def aligned(people: Array, face: NDArray[np.bool_]) -> Array:
    """Align all heads (P, N, 3) rigidly, without scale, to their mean: generalised Procrustes, three rounds."""
    moved = people.copy()
    for _ in range(3):
        target = moved[:, face].mean(axis=0)
        centre = target.mean(axis=0)
        for person in moved:
            own = person[face].mean(axis=0)
            u, _, vt = np.linalg.svd((person[face] - own).T @ (target - centre))
            rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
            person[:] = (person - own) @ rotation + centre
    return moved


def principal_components(people: Array, count: int, weights: Array | None = None) -> tuple[Array, Array]:
    """Return the mean (N, 3) and the first modes (count, N, 3), multiplied by their standard deviation, mm.

    The modes are those that leave least of the people's weighted sum of squares, with weights (N,) of the vertices'
    displacements. Their coefficients over the people are uncorrelated. A mode's sign is fixed by its largest entry.
    """
    mean = people.mean(axis=0)
    centred = (people - mean).reshape(len(people), -1)
    weighted = centred if weights is None else centred * np.repeat(weights, 3)
    _, left = np.linalg.eigh(weighted @ weighted.T)
    left = left[:, ::-1][:, :count]
    modes = left.T @ centred / np.sqrt(len(people))
    signs = np.sign(modes[np.arange(count), np.abs(modes).argmax(axis=1)])
    return mean, (modes * signs[:, None]).reshape(count, -1, 3)


def _macro(source: MakeHuman, head: Head, rng: np.random.Generator) -> Array:
    """Return the displacement (n, 3), mm, of a random ancestry, sex and age."""
    mix = rng.dirichlet(CONCENTRATION * np.array(list(ANCESTRY.values())))
    male, old = rng.beta(SEX_BETA, SEX_BETA), rng.uniform(0.0, OLDEST)
    total = np.zeros(head.base.shape)
    for sex, sex_share in (("male", male), ("female", 1.0 - male)):
        for age, age_share in (("old", old), ("young", 1.0 - old)):
            universal = f"macrodetails/universal-{sex}-{age}-averagemuscle-averageweight"
            total += sex_share * age_share * source.target(universal)[head.source]
            for ancestry, share in zip(ANCESTRY, mix, strict=True):
                target = source.target(f"macrodetails/{ancestry}-{sex}-{age}")
                total += share * sex_share * age_share * target[head.source]
    return total


def _both_sides(source: MakeHuman, head: Head, name: str) -> Array:
    """Return a target's displacement (n, 3); of one on the left side, together with its right counterpart's."""
    sides = sorted({name, name.replace("/l-", "/r-")})
    return np.sum([source.target(side)[head.source] for side in sides], axis=0)


def _peak(low: Array, high: Array) -> float:
    return max(*(float(np.linalg.norm(part, axis=1).max()) for part in (low, high)), 1e-9)
