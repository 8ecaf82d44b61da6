"""What a camera sees: cameras, light, rasterisers and pictures.

The module can be called: `facefit.render(result, ...)` draws a fitted face (see `result_picture.draw_result`).
"""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class _Render(ModuleType):
    """The package under the name of its main verb: a package and a function cannot share a name otherwise."""

    def __call__(self, result: Any, **options: Any) -> Any:
        """Draw a fitted face; see `result_picture.draw_result`."""
        from .result_picture import draw_result

        return draw_result(result, **options)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        """Pickle by name, as a function does: so that a pool of processes can be given the verb."""
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Render
