"""300W-LP's parameters of each exported face, as `mat-00000.tar`: KEY.mat (export/w300lp.py; keys: sample_keys.py).

Their pixels are those of the whole upright photo. What one deviation of a coefficient is in the units of the model's
own components is read from its file; a model that was stored in another format no longer tells, and its components
count as orthonormal, as Basel's are.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...fitting.images import LoadedImage
from ...fitting.results import FitResult
from ...models.morphable_model import MorphableModel
from ...models.store import find_model, format_of, load_model
from ..export.w300lp import Deviations, parameters_300wlp, read_deviations, require_300wlp_layout
from .sample_keys import sample_key
from .sources import Item

_TEXT = b"MATLAB 5.0 MAT-file, written by facefit".ljust(116)
"""The descriptive text that a MAT-file begins with; SciPy's tells the time, and no two runs would agree.

MATLAB, "MAT-File Format", level 5: bytes 1 to 116 of the header.
"""


@dataclass(frozen=True, eq=False)
class MatExporter:
    """Makes the .mat files of an image's faces (see the module's text)."""

    deviations: Deviations | None = None  # of the model's coefficients; None: of orthonormal components

    @property
    def name(self) -> str:
        """What stands in the provenance."""
        return "300W-LP .mat" if self.deviations is not None else "300W-LP .mat, components taken as orthonormal"

    @property
    def tar(self) -> str:
        """The tar of the files."""
        return "mat"

    def check(self, model: MorphableModel) -> None:
        """Raise InvalidInputError for a model whose parameters the format cannot hold."""
        require_300wlp_layout(model)

    def __call__(
        self, item: Item, image: LoadedImage, results: Sequence[FitResult], model: MorphableModel
    ) -> Mapping[str, bytes]:
        """Return the files of all faces whose fit can be used."""
        height, width = image.pixels.shape[:2]
        return {
            f"{sample_key(item.key, result.face_index)}.mat": mat_bytes(
                parameters_300wlp(result, model, (height, width), self.deviations)
            )
            for result in results
            if result.status.usable
        }


def mat_exporter(model: str) -> MatExporter:
    """Return the exporter for a model, by its name in the store or its path; errors as of `MatExporter.check`."""
    require_300wlp_layout(load_model(model))
    path = find_model(model)
    found = format_of(path)
    return MatExporter(read_deviations(path) if found is not None and found.module == "bfm_matlab" else None)


def mat_bytes(variables: Mapping[str, Any]) -> bytes:
    """Return the MAT-file (level 5) of variables: the same bytes for the same values."""
    import scipy.io

    content = io.BytesIO()
    scipy.io.savemat(content, dict(variables))
    return _TEXT + content.getvalue()[len(_TEXT) :]
