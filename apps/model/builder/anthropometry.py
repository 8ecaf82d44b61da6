"""Standard measures of the head on pinned vertices of the default model, with their values in adults.

Breadths, heights and lengths are those of head-and-face surveys; depths compare how far forward points lie, which is
what a face seen from the front says least about. Frame: the model's, whose horizontal lies within 2 degrees of the
Frankfort plane (tragion to orbitale).

Sources. The mix is the model's own: 65 % European, 15 % African, 20 % Asian descent, sexes 50/50, so that a mean is
sum_k w_k m_k and a variance sum_k w_k (s_k^2 + (m_k - mean)^2) over the groups.

  NIOSH   Zhuang & Bradtmiller, J. Occup. Environ. Hyg. 2:567-576, 2005; data set RD-10130-2020-0 (3,997 subjects; its
          groups White, Black and Other, mixed as above). Nose protrusion from 470 of them.
  ANSUR2  Gordon et al., 2012 Anthropometric Survey of U.S. Army Personnel, NATICK/TR-15/007, 2014.
  ANSUR   Gordon et al., 1988 Anthropometric Survey of U.S. Army Personnel, NATICK/TR-89/044, 1989: headboard distances
          from the back and the top of the head, of which depths and heights here are differences of means.
  3DFN    Weinberg et al., Cleft Palate Craniofac. J. 53:e185-e197, 2016, at 25 years; European descent.
  EX      3DFN mixed with Virdi et al., Maxillofac. Plast. Reconstr. Surg. 41:9, 2019, and Jayaratne et al., 2013
          (PMC3730197) gives 89.3 +- 5.6; Farkas's North American white in place of 3DFN 90.8 +- 4.8: the middle.
  EN      Intercanthal distances of 67 studies (PMC9029890), mixed.
  FARKAS  Farkas, Anthropometry of the Head and Face in Medicine, 1981 (nasal root depth, at 18 years), and
          Anthropometry of the Head and Face, 2nd ed., 1994 (eye fissure height).
  DERIVED The inner canthus lies 6 (3DFN widths) to 8 mm (Jayaratne) in front of the outer: sqrt(length^2 - breadth^2)
          of the eye fissure; with the nasal root's depth in front of the inner canthi this gives the sellion's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS: Mapping[str, int] = {
    "alare": 3519, "cheilion": 2641, "endocanthion": 2245, "euryon": 3816, "exocanthion": 2197,
    "glabella": 227, "gonion": 3696, "labiale inferius": 496, "labiale superius": 455, "lower lid": 3114,
    "menton": 1673, "opisthocranion": 924, "orbitale": 3703, "pogonion": 1539, "pronasale": 1431, "pupil": 4378,
    "sellion": 132, "stomion": 474, "subnasale": 317, "tragion": 3913, "upper lid": 2176, "zygion": 2430,
}  # fmt: skip
"""Vertex of each point, on the subject's left or the midline; its counterpart on the right is the mirror's."""


@dataclass(frozen=True)
class Measure:
    """One measure; a `breadth` needs one paired point, the others two points of the left half."""

    name: str
    kind: str  # breadth, length, height or depth (the first point above or in front of the second)
    points: tuple[str, ...]
    mean: float  # mm
    deviation: float | None  # mm, standard deviation in adults; None where no source gives it
    source: str


MEASURES = (
    Measure("bizygomatic breadth", "breadth", ("zygion",), 139.3, 7.9, "NIOSH"),
    Measure("menton-sellion length", "length", ("menton", "sellion"), 117.9, 8.2, "NIOSH"),
    Measure("nose breadth", "breadth", ("alare",), 35.3, 4.8, "NIOSH"),
    Measure("mouth breadth", "breadth", ("cheilion",), 49.5, 4.5, "NIOSH"),
    Measure("interpupillary breadth", "breadth", ("pupil",), 63.4, 3.9, "NIOSH"),
    Measure("outer canthi", "breadth", ("exocanthion",), 90.0, 5.2, "EX"),
    Measure("inner canthi", "breadth", ("endocanthion",), 33.5, 4.0, "EN"),
    Measure("nose protrusion", "length", ("pronasale", "subnasale"), 20.0, 2.7, "NIOSH"),
    Measure("subnasale-sellion length", "length", ("subnasale", "sellion"), 49.9, 4.5, "NIOSH"),
    Measure("head breadth", "breadth", ("euryon",), 151.1, 6.3, "ANSUR2"),
    Measure("head length", "length", ("glabella", "opisthocranion"), 194.7, 8.7, "ANSUR2"),
    Measure("upper lip length", "length", ("subnasale", "stomion"), 21.4, 2.8, "3DFN"),
    Measure("eye fissure height", "height", ("upper lid", "lower lid"), 10.9, 1.1, "FARKAS"),
    Measure("nasal root depth", "depth", ("sellion", "endocanthion"), 14.3, 2.1, "FARKAS"),
    Measure("sellion before outer canthus", "depth", ("sellion", "exocanthion"), 21.0, None, "DERIVED"),
    Measure("glabella before sellion", "depth", ("glabella", "sellion"), 2.3, None, "ANSUR"),
    Measure("pronasale before sellion", "depth", ("pronasale", "sellion"), 21.4, None, "ANSUR"),
    Measure("subnasale before sellion", "depth", ("subnasale", "sellion"), 6.6, None, "ANSUR"),
    Measure("stomion before sellion", "depth", ("stomion", "sellion"), 3.2, None, "ANSUR"),
    Measure("sellion before cheilion", "depth", ("sellion", "cheilion"), 10.5, None, "ANSUR"),
    Measure("sellion before pogonion", "depth", ("sellion", "pogonion"), 2.1, None, "ANSUR"),
    Measure("sellion before orbitale", "depth", ("sellion", "orbitale"), 14.6, None, "ANSUR"),
    Measure("sellion before zygion", "depth", ("sellion", "zygion"), 62.5, None, "ANSUR"),
    Measure("sellion before tragion", "depth", ("sellion", "tragion"), 94.9, None, "ANSUR"),
    Measure("sellion above tragion", "height", ("sellion", "tragion"), 18.6, None, "ANSUR"),
    Measure("sellion above stomion", "height", ("sellion", "stomion"), 72.0, None, "ANSUR"),
)


def measured(vertices: Array, mirror: NDArray[np.integer]) -> Array:
    """Return the MEASURES (..., M), mm, of heads `vertices` (..., N, 3), mm, with each vertex's counterpart (N,)."""
    columns = []
    for measure in MEASURES:
        first = POINTS[measure.points[0]]
        last = int(mirror[first]) if measure.kind == "breadth" else POINTS[measure.points[1]]
        across = vertices[..., first, :] - vertices[..., last, :]
        columns.append(_KINDS[measure.kind](across))
    return np.stack(columns, axis=-1)


_KINDS: Mapping[str, Callable[[Array], Array]] = {
    "breadth": lambda across: np.linalg.norm(across, axis=-1),
    "length": lambda across: np.linalg.norm(across, axis=-1),
    "height": lambda across: across[..., 1],
    "depth": lambda across: across[..., 2],
}
