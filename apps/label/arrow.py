"""pyarrow, imported when it is needed."""

from importlib import import_module
from typing import Any

from ...models.errors import MissingDependencyError


def pyarrow(module: str = "") -> Any:
    """Return pyarrow or one of its modules; MissingDependencyError where it is not installed."""
    try:
        return import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError:
        raise MissingDependencyError("Parquet files need pyarrow: pip install 'facefit[label]'") from None
