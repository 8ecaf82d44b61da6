"""Reading `.npz` archives that nobody vouches for: no pickles, no bombs, and one error whatever is wrong.

An `.npz` is a zip of `.npy` members. Each member is unpacked up to the size that its directory entry states and its
checksum is compared before anything in it is interpreted, so damage never reaches the parser.
"""

import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import FacefitError

MAX_BYTES = 2**31
MAX_NUMBERS = 2**28
"""What an archive may hold unpacked; the largest published face models need a fifth and a third of it.

Numbers are counted too, since one that takes a byte in a file, or a text none, takes eight where it is used.
"""

_DAMAGE = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError),  # damaged or encrypted archives
    *(ValueError, TypeError, OverflowError, MemoryError, TokenError),  # members that lie about their content
)


def read_arrays(path: str | Path, error: type[FacefitError]) -> dict[str, NDArray[Any]]:
    """Return the arrays of the archive `path` by name; raise `error`, naming the file, if it cannot be read whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size > MAX_BYTES:
                raise error(f"{path}: expected at most {MAX_BYTES} bytes unpacked, got {size}")
            arrays = {}
            for member in members:
                arrays[member.filename.removesuffix(".npy")] = _read(archive, member)
                if sum(each.size for each in arrays.values()) > MAX_NUMBERS:
                    raise error(f"{path}: {member.filename}: expected at most {MAX_NUMBERS} numbers in all, got more")
            return arrays
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except FacefitError:
        raise
    except _DAMAGE as problem:
        raise error(f"{path}: not a readable .npz file ({problem or type(problem).__name__})") from None


def array_names(path: str | Path) -> frozenset[str]:
    """Return the names of the arrays in the archive `path`; none where it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
    except _DAMAGE:
        return frozenset()


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    if not member.filename.endswith(".npy") or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"expected stored or deflated .npy members, got {member.filename!r}")
    with archive.open(member) as file:
        content = file.read(member.file_size)  # all of it: that compares the checksum
    return np.lib.format.read_array(BytesIO(content), allow_pickle=False)
