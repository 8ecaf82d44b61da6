"""Which vertices can form the outline of jaw and cheek: the skin along the jaw line of either side."""

import numpy as np

from ....fitting.landmarks import JAW
from ....models.contour import band_around, unit_normals
from ....models.morphable_model import JawContour, MorphableModel

REACH_MM = 45.0
"""How far from the jaw line the outline of a turned face may run; more lets it jump to the neck."""
LEFT_OUT = ("nose", "lips", "lids", "brows")


def jaw_contour(model: MorphableModel) -> JawContour:
    """Return the candidates of both sides; the model needs landmarks, a mirror map and the region masks."""
    assert model.mirror is not None
    allowed = model.regions["face"] | model.regions["neck"]
    allowed = allowed & ~np.any([model.regions[name] for name in LEFT_OUT], axis=0)
    jaw, normals = model.semantic_basis.mean[JAW], unit_normals(model.mean, model.triangles)
    left = band_around(jaw, model.mean, normals, REACH_MM, 1.0)
    left = left[allowed[left]]
    return JawContour(right=np.sort(model.mirror[left]), left=left)
