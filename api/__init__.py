"""facefit: fit a 3D morphable face model to one ordinary photo.

This is the front door: the names below, each loaded from its home on first use, so that `import facefit` costs
nothing. Its only work at import is to choose the folder where Numba keeps compiled kernels.
"""

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fitting.animation import animate, separate_detail
    from .fitting.clip import track_clip
    from .fitting.images import read_image
    from .fitting.options import FitOptions
    from .fitting.pipeline import fit, fit_faces, fit_landmarks
    from .fitting.result_files import load_result, save
    from .fitting.results import FitResult, StageReport
    from .fitting.status import FitStatus
    from .fitting.texture import make_texture
    from .fitting.tracking import Tracker, TrackerOptions
    from .models.errors import FacefitError
    from .models.morphable_model import MorphableModel
    from .models.store import load_model
    from .render.cameras import Perspective, ScaledOrthographic
    from .render.result_picture import draw_result as render

    __version__: str

__all__ = [
    "FacefitError",
    "FitOptions",
    "FitResult",
    "FitStatus",
    "MorphableModel",
    "Perspective",
    "ScaledOrthographic",
    "StageReport",
    "Tracker",
    "TrackerOptions",
    "__version__",
    "animate",
    "fit",
    "fit_faces",
    "fit_landmarks",
    "load_model",
    "load_result",
    "make_texture",
    "read_image",
    "render",
    "save",
    "separate_detail",
    "track_clip",
]

_LAYERS = ("models", "render", "fitting", "apps")

_HOMES = {
    "FacefitError": "models.errors",
    "FitOptions": "fitting.options",
    "FitResult": "fitting.results",
    "FitStatus": "fitting.status",
    "MorphableModel": "models.morphable_model",
    "Perspective": "render.cameras",
    "ScaledOrthographic": "render.cameras",
    "StageReport": "fitting.results",
    "Tracker": "fitting.tracking",
    "TrackerOptions": "fitting.tracking",
    "animate": "fitting.animation",
    "fit": "fitting.pipeline",
    "fit_faces": "fitting.pipeline",
    "fit_landmarks": "fitting.pipeline",
    "load_model": "models.store",
    "load_result": "fitting.result_files",
    "make_texture": "fitting.texture",
    "read_image": "fitting.images",
    "save": "fitting.result_files",
    "separate_detail": "fitting.animation",
    "track_clip": "fitting.clip",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("facefit")
    elif name == "render":
        value = import_module(f"{__name__}.render")  # the package itself, which can be called
    elif name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _kernels_digest() -> str:
    """Return a hash of every `_kernels` source: Numba does not notice a change in a kernel that another one calls."""
    digest = hashlib.sha256()
    for layer in _LAYERS:
        spec = find_spec(f"{__name__}.{layer}")
        for folder in (spec and spec.submodule_search_locations) or ():
            for source in sorted(Path(folder).rglob("*_kernels.py")):
                digest.update(source.relative_to(folder).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _private_folder(folder: Path) -> bool:
    """Make `folder` (mode 0700) and tell whether it is ours alone and writable: cached kernels are code to run."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
            return False
        folder.chmod(0o700)
        return os.access(folder, os.W_OK)
    except OSError:
        return False


def _numba_cache_folder() -> str:
    """Return the per-user cache folder of this version's kernels, or a temporary one that is removed at exit."""
    from platformdirs import user_cache_path

    folder = user_cache_path("facefit", appauthor=False) / f"numba-{_kernels_digest()}"
    if _private_folder(folder):
        return str(folder)
    temporary = tempfile.mkdtemp(prefix="facefit-numba-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


# Before any submodule can import Numba, which reads it once; a choice of the user's stands.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = _numba_cache_folder()
