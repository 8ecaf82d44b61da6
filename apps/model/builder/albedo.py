"""The appearance of the default model: people painted procedurally, and the principal components of a few thousand.

MakeHuman's skins are not used, since the licence of the copies at hand is in doubt; nothing here comes from a photo.

Skin is a deep layer that scatters evenly and absorbs by two pigments. Per channel of linear RGB (Kubelka & Munk 1931)

    reflectance = 1 + k - sqrt(k^2 + 2 k),     k = REMAINDER + melanin MELANIN + blood BLOOD

where k is absorption by scattering. MELANIN follows the melanosome's absorption, wavelength^-3.33 (Jacques, "Skin
optics", 1998), BLOOD haemoglobin at an oxygenation of 3/4 (Prahl's compilation, 1999), both at BANDS_NM, one wavelength
for a channel. REMAINDER, for bilirubin and carotene, and the usual blood were fitted to the colours SKIN_LAB. That two
pigments describe a face is from Tsumura et al. (SIGGRAPH 2003) and Jimenez et al. (SIGGRAPH Asia 2010). The layer, in
place of a Beer-Lambert law, keeps dark skin from turning orange: where more is absorbed, light takes shorter paths.

On it go local shades of either pigment, hair (brows, lashes, beard, cropped hair), vermilion and mucosa, teeth, and
the iris, which is a bluish stroma behind melanin. Paint is a function of points of the base mesh: it can be evaluated
at vertices as at an atlas's texels, and does not depend on the population of shapes. All amounts without a source are
choices, made by looking.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....models.morphable_model import LandmarkEmbedding
from .head import Head
from .population import ANCESTRY, principal_components
from .regions import (
    FRONT_Z,
    SIDE,
    centred_base,
    eyeball_centre,
    front_distance,
    front_outlines,
    regions,
    side_distance,
)

Array = NDArray[np.float64]

PEOPLE = 2000
MODES = 12
LEAST, MOST = 0.005, 0.95
"""Range of reflectance that anything is painted with."""

BANDS_NM = np.array([630.0, 540.0, 455.0])
MELANIN = (BANDS_NM / BANDS_NM[2]) ** -3.33
BLOOD = np.array([0.034, 1.0, 0.91])
REMAINDER = np.array([0.0, 0.01, 0.36])

SKIN_LAB = np.array([
    (65.0, 10.0, 16.5), (64.2, 9.0, 18.3), (56.0, 12.0, 19.0),
    (47.0, 12.0, 18.0), (42.0, 11.0, 15.0), (34.0, 10.0, 12.0),
])  # fmt: skip
"""CIELAB (D65) of skin from light to dark. The second is the mean of 148 Asians (Yun et al., Skin Research and
Technology 16, 2010, five sites of the body); the others are rounded choices of individual typology angles 42, 18, -9,
-28 and -53 degrees, that is light, tan, brown, brown and dark (Chardon et al., 1991)."""

CONCENTRATION = 0.6
"""Ancestry is Dirichlet with the mean of the shapes' and this for a sum: most people are nearly of one."""
SKIN_MELANIN = {"caucasian": (0.57, 0.45), "african": (5.5, 0.55), "asian": (0.90, 0.35)}
"""Ancestry -> median and standard deviation of the logarithm."""
USUAL_BLOOD, BLOOD_POWER, BLOOD_DEVIATION = 0.42, 0.6, 0.12
"""Blood is the first times melanin to the second; deviation of its logarithm. That it grows makes brown skin red."""
HAIR_EUMELANIN = {"caucasian": (0.55, 0.9), "african": (4.0, 0.3), "asian": (3.0, 0.3)}
HAIR_ABSORPTION = np.array([[0.419, 0.697, 1.37], [0.187, 0.4, 1.05]])
"""Eumelanin and pheomelanin per unit (d'Eon et al., EGSR 2011)."""
HAIR_DARKENING = 5.89
"""A head of hair reflects exp(-this sqrt(absorption)) (Chiang et al., Eurographics 2016, at a roughness of 0.3)."""
BROW_DARKER = 2.0
"""Eumelanin in brows and lashes relative to the head's hair."""
IRIS_MELANIN = {"caucasian": (4.0, 0.9), "african": (4.0, 0.3), "asian": (8.0, 0.3)}
"""Times the root of the skin's melanin."""

STROMA, BROWN_IRIS = np.array([0.14, 0.18, 0.22]), np.array([0.050, 0.025, 0.013])
SCLERA, SCLERA_CORNER = np.array([0.55, 0.515, 0.48]), np.array([0.47, 0.34, 0.30])
PUPIL, TOOTH = np.array([0.01, 0.01, 0.01]), np.array([0.60, 0.55, 0.45])
MUCOSA, THROAT = np.array([0.30, 0.10, 0.09]), np.array([0.07, 0.018, 0.015])
CONJUNCTIVA = np.array([0.42, 0.20, 0.17])
PUPIL_DEG, IRIS_DEG = 6.25, 23.5
"""Polar angles about the line of sight; `head.py` has rings of vertices on either side of both."""

BEARD = np.array([
    (0.0, -52.0), (13.0, -52.5), (21.0, -57.0), (32.0, -60.0), (46.0, -52.0), (57.0, -32.0), (64.0, -8.0), (90.0, -8.0),
    (90.0, -122.0), (0.0, -122.0), (-5.0, -122.0), (-5.0, -52.0),
])  # fmt: skip
"""Where a beard grows, left half in (x, y), mm from the midpoint of the eyeballs; it closes beyond the midline."""
SPOTS = {
    "flush": (((40.0, -31.0), (13.0, 12.0)), ((0.0, -34.0), (11.0, 8.0)), ((0.0, -93.0), (12.0, 8.0))),
    "shade": (((28.0, -11.5), (11.0, 4.0)), ((19.0, -6.0), (4.0, 5.0))),
}
"""Name -> centres and standard deviations (x, y), mm, of spots: cheeks, nose and chin; below the eye, by its corner."""
NOSTRIL = np.array([8.8, -42.0, 24.3]), np.array([2.6, 1.6, 3.4])
"""Centre and standard deviations (x, y, z), mm, of the dark spot within the left nostril, which is a shallow pit."""


@dataclass(frozen=True)
class Person:
    """One person's appearance; defaults are about the middle of the population."""

    melanin: float = 0.9  # absorption by scattering at 455 nm
    blood: float = 0.4  # absorption by scattering at 540 nm
    flush: float = 0.5  # logarithm: more blood in cheeks, nose, chin and ears
    tan: float = 0.1  # logarithm: more melanin on the upper face
    shade: float = 0.35  # logarithm: more of both about the eyes
    neck: float = 0.0  # logarithm: more melanin below the jaw
    lips: float = 1.4  # logarithm: more blood in the vermilion
    hair: tuple[float, float] = (1.5, 0.1)  # eumelanin and pheomelanin
    cropped: float = 0.5  # share of the scalp that hair covers
    hairline: float = 0.0  # mm that it lies further down
    brows: float = 0.9  # share of the brows that hair covers
    brow_width: float = 0.0  # mm added all round
    beard: float = 0.1  # share of its area that hair covers
    iris_melanin: float = 6.0
    sclera: float = 1.0  # factor


@dataclass(frozen=True, eq=False)
class Canvas:
    """What paint needs to know of M points; distances are mm, positive inside; shares are within 0-1."""

    grain: Array  # (M,) half width that edges have at least: about half the distance to the next point
    eye: NDArray[np.bool_]
    tooth: NDArray[np.bool_]
    molar: Array  # share of the shade that lies on teeth further back
    mouth: Array  # depth in the mouth's bag, from where the lips meet
    socket: Array  # share
    brow: Array  # distance
    lips: Array  # distance
    lash: Array  # distance to the margin of the upper or lower lid
    upper: Array  # share of the upper lid
    lids: Array  # share
    scalp: Array  # distance
    ears: Array  # share
    neck: Array  # share
    beard: Array  # distance
    tan: Array  # share
    flush: Array  # share
    shade: Array  # share
    nostril: Array  # share
    polar: Array  # degrees from an eye's line of sight
    sideways: Array  # |sine| of that angle's horizontal part


def albedo(head: Head, landmarks: LandmarkEmbedding, seed: int, count: int = PEOPLE) -> tuple[Array, Array]:
    """Return the mean (N, 3) and MODES principal components (A, N, 3), times their deviation, of `count` people.

    Linear reflectance per vertex; symmetric. A mode's sign is fixed by its largest entry: the first one's, which is
    light or dark skin, so that it adds light.
    """
    canvas = vertex_canvas(head, landmarks)
    painted = np.array([paint(canvas, person) for person in people(count, np.random.default_rng(seed))])
    mean, modes = principal_components(painted, MODES)
    return 0.5 * (mean + mean[head.mirror]), 0.5 * (modes + modes[:, head.mirror])


def mean_paint(canvas: Canvas, seed: int, count: int = PEOPLE) -> Array:
    """Return the mean (M, 3) of the first `count` people that `albedo` paints from the same seed."""
    total = np.zeros((len(canvas.eye), 3))
    for person in people(count, np.random.default_rng(seed)):
        total += paint(canvas, person)
    return total / count


def people(count: int, rng: np.random.Generator) -> list[Person]:
    """Draw people; skin, hair and iris go together through ancestry, all else is independent of it."""
    return [_person(rng) for _ in range(count)]


def _person(rng: np.random.Generator) -> Person:
    mix = rng.dirichlet(CONCENTRATION * np.array(list(ANCESTRY.values())))

    def pigment(table: dict[str, tuple[float, float]]) -> float:
        median, deviation = np.array([table[name] for name in ANCESTRY]).T
        return float(np.exp(mix @ np.log(median) + (mix @ deviation) * rng.standard_normal()))

    melanin = pigment(SKIN_MELANIN)
    grows_beard = rng.random() < 0.5
    return Person(
        melanin=melanin,
        blood=USUAL_BLOOD * melanin**BLOOD_POWER * float(np.exp(BLOOD_DEVIATION * rng.standard_normal())),
        flush=float(rng.normal(0.45, 0.15)),
        tan=float(rng.normal(0.1, 0.1)),
        shade=float(rng.normal(0.35, 0.15)),
        neck=float(rng.normal(-0.05, 0.12)),
        lips=float(rng.normal(1.4, 0.25)),
        hair=(pigment(HAIR_EUMELANIN), float(rng.gamma(1.0, 0.15))),
        cropped=float(0.92 * rng.beta(1.2, 0.8)),
        hairline=float(rng.normal(0.0, 3.0)),
        brows=float(rng.uniform(0.75, 1.0)),
        brow_width=float(rng.normal(0.0, 0.5)),
        beard=float(rng.beta(0.8, 2.0)) if grows_beard else 0.0,
        iris_melanin=pigment(IRIS_MELANIN) * melanin**0.5,
        sclera=float(np.clip(rng.normal(1.0, 0.07), 0.8, 1.15)),
    )


def vertex_canvas(head: Head, landmarks: LandmarkEmbedding) -> Canvas:
    """Return the canvas of the model's vertices; edges are as wide as the mesh is coarse."""
    points, edges = centred_base(head), head.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    ends = edges.ravel()
    grain = np.bincount(ends, np.repeat(length, 2)) / np.bincount(ends)
    corners = np.repeat(np.arange(head.n_vertices)[:, None], 3, axis=1)
    return surface_canvas(head, landmarks, corners, np.full(corners.shape, 1.0 / 3.0), 0.35 * grain)


def surface_canvas(
    head: Head, landmarks: LandmarkEmbedding, corners: NDArray[np.integer], weights: Array, grain: ArrayLike
) -> Canvas:
    """Return the canvas of points of the surface.

    `corners` (M, 3) are the vertices of a triangle, `weights` (M, 3) the point's barycentric weights in it; `grain`, mm
    on the base mesh, is half the distance between the points, (M,) or one for all.
    """
    masks, outlines, vertices = regions(head, landmarks), front_outlines(head, landmarks), centred_base(head)

    def blended(field: Array) -> Array:
        return np.einsum("mc,mc...->m...", weights, field[corners])

    points = blended(vertices)
    skin, forward = blended(masks["skin"].astype(float)), smooth(points[:, 2] - FRONT_Z, 8.0)
    eye_line = front_distance(points, outlines["eye"])
    looking = points * np.where(points[:, :1] > 0.0, 1.0, [-1.0, 1.0, 1.0]) - eyeball_centre(head)
    length = np.maximum(np.linalg.norm(looking, axis=1), 1e-9)
    outside = np.where(points[:, 2] > FRONT_Z, 0.0, -1e3) - 1e3 * (skin < 0.5)
    mouth = blended(_depth(vertices, masks["mouth"], head.lip_ring))
    lips = front_distance(points, outlines["lips"]) + np.where(points[:, 2] > FRONT_Z, 0.0, -1e3)
    above = points[:, 1] - np.interp(np.abs(points[:, 0]), *outlines["eye"][[0, 23]].T)
    return Canvas(
        grain=np.broadcast_to(np.asarray(grain, dtype=np.float64), len(points)),
        eye=blended(masks["eyes"].astype(float)) > 0.5,
        tooth=blended(masks["teeth"].astype(float)) > 0.5,
        molar=smooth(vertices[masks["teeth"], 2].max() - 16.0 - points[:, 2], 8.0),
        mouth=mouth,
        socket=blended(masks["sockets"].astype(float)),
        brow=front_distance(points, outlines["brow"]) + outside,
        lips=np.where(mouth > 0.0, np.maximum(lips, mouth), lips),
        lash=-np.abs(eye_line) + outside,
        upper=smooth(above, 1.0),
        lids=forward * smooth(eye_line + 5.0, 3.0),
        scalp=np.where(blended(masks["ears"].astype(float)) > 0.0, -1e3, side_distance(points, SIDE["scalp"])),
        ears=blended(masks["ears"].astype(float)),
        neck=skin * smooth(side_distance(points, SIDE["neck"]), 12.0),
        beard=np.minimum(front_distance(points, BEARD), points[:, 2] + 66.0) - 1e3 * (skin < 0.5),
        tan=skin * smooth(points[:, 1] + 45.0, 45.0) * smooth(points[:, 2] + 50.0, 40.0),
        flush=forward * _spots(points, "flush"),
        shade=forward * _spots(points, "shade"),
        nostril=_spot(points, *NOSTRIL),
        polar=np.degrees(np.arccos(np.clip(looking[:, 2] / length, -1.0, 1.0))),
        sideways=np.abs(looking[:, 0]) / length,
    )


def paint(canvas: Canvas, person: Person) -> Array:
    """Return the linear reflectance (M, 3) of a person at the points of a canvas."""
    lips = smooth(canvas.lips, np.maximum(0.8, canvas.grain))
    blood = person.flush * (canvas.flush + 0.6 * canvas.ears) + person.shade * (0.5 * canvas.shade + 0.7 * canvas.lids)
    melanin = person.tan * canvas.tan + person.shade * (canvas.shade + canvas.lids) + person.neck * canvas.neck
    own = np.log(person.melanin)
    melanin = own + (1.0 - lips) * melanin + lips * (0.4 - 0.25 * own)
    blood = np.log(person.blood) + (1.0 - lips) * blood + lips * person.lips
    colour = skin_reflectance(np.exp(melanin), np.exp(blood))
    eumelanin, pheomelanin = person.hair
    hair, brow = (hair_reflectance(factor * eumelanin, pheomelanin) for factor in (1.0, BROW_DARKER))
    beardless = smooth(canvas.lips + 0.5, np.maximum(0.8, canvas.grain))
    for line, width, cover, shade in (
        (canvas.scalp + person.hairline, 7.0, person.cropped, hair),
        (canvas.beard, 6.0, person.beard * (1.0 - beardless), hair),
        (canvas.brow + person.brow_width, 1.8, person.brows, brow),
    ):
        colour = _over(colour, shade, cover * smooth(line, np.maximum(width, canvas.grain)))
    lash = smooth(canvas.lash + 0.8, np.maximum(0.8, 0.5 * canvas.grain)) * (0.35 + 0.4 * canvas.upper)
    colour = _over(colour, 0.5 * brow, lash)
    colour = _over(_over(colour, THROAT, 0.9 * canvas.nostril), CONJUNCTIVA, canvas.socket)
    deep = smooth(canvas.mouth - 9.0, 8.0)[:, None]
    colour = _over(colour, MUCOSA + deep * (THROAT - MUCOSA), smooth(canvas.mouth - 2.0, 2.0))
    colour[canvas.eye] = _eyes(canvas.polar[canvas.eye], canvas.sideways[canvas.eye], person)
    teeth = np.tile(TOOTH * person.sclera, (int(canvas.tooth.sum()), 1))
    colour[canvas.tooth] = _over(teeth, THROAT, 0.85 * canvas.molar[canvas.tooth])
    return np.clip(colour, LEAST, MOST)


def skin_reflectance(melanin: ArrayLike, blood: ArrayLike) -> Array:
    """Return the linear reflectance (..., 3) of skin with amounts (...) of either pigment; see the module's text."""
    k = REMAINDER + np.asarray(melanin)[..., None] * MELANIN + np.asarray(blood)[..., None] * BLOOD
    return 1.0 + k - np.sqrt(k * (k + 2.0))


def hair_reflectance(eumelanin: float, pheomelanin: float) -> Array:
    """Return the linear reflectance (3,) of hair with amounts of either pigment; black hair still shines a little."""
    absorption = np.array([eumelanin, pheomelanin]) @ HAIR_ABSORPTION
    return 0.012 + np.exp(-HAIR_DARKENING * np.sqrt(absorption))


def smooth(distance: Array, width: float | Array) -> Array:
    """Return the share within 0-1 of what lies `distance` inside an edge of half `width`: a cubic step."""
    t = np.clip(0.5 + 0.5 * distance / width, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _eyes(polar: Array, sideways: Array, person: Person) -> Array:
    """Return the colour (M, 3) of eyeballs: pupil, iris with a lighter ring about it and a dark limbus, sclera."""
    melanin = person.iris_melanin * (1.0 - 0.35 * smooth(12.0 - polar, 4.0)) * (1.0 + 0.6 * smooth(polar - 21.0, 2.5))
    iris = BROWN_IRIS + (STROMA - BROWN_IRIS) * np.exp(-0.6 * melanin[:, None] * MELANIN)
    iris *= (1.0 - 0.45 * smooth(polar - 21.5, 2.0))[:, None]
    white = person.sclera * _over(np.tile(SCLERA, (len(polar), 1)), SCLERA_CORNER, smooth(sideways - 0.75, 0.3))
    return _over(_over(np.tile(PUPIL, (len(polar), 1)), iris, smooth(polar - PUPIL_DEG, 1.2)), white,
                 smooth(polar - IRIS_DEG, 1.4))  # fmt: skip


def _over(below: Array, above: Array, share: Array) -> Array:
    """Return `below` (M, 3) covered by a share (M,) of the colour `above`."""
    return below + share[:, None] * (above - below)


def _depth(vertices: Array, mouth: NDArray[np.bool_], ring: NDArray[np.int32]) -> Array:
    """Return how far (N,) vertices of the mouth's bag are from the line along which the lips meet, mm; else zero."""
    away = np.linalg.norm(vertices[:, None] - vertices[ring], axis=2).min(axis=1)
    return np.where(mouth, away, 0.0)


def _spots(points: Array, name: str) -> Array:
    """Return the sum (M,) of the Gaussian spots `name`, both sides."""
    total = np.zeros(len(points))
    for centre, deviation in SPOTS[name]:
        total += _spot(points[:, :2], np.array(centre), np.array(deviation))
    return np.minimum(total, 1.0)


def _spot(points: Array, centre: Array, deviation: Array) -> Array:
    """Return a Gaussian (M,) of points (M, 2 or 3) about the centre on the left and its mirror image, one at most."""
    away = (points * np.where(points[:, :1] > 0.0, 1.0, [-1.0, 1.0, 1.0][: len(centre)]) - centre) / deviation
    return np.exp(-0.5 * (away**2).sum(axis=1))
