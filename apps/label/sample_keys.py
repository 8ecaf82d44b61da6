"""What a face is called in a tar: WebDataset's sample key.

WebDataset takes for a sample's key the name up to the first dot behind the last slash, and for a field what follows;
other readers take the first dot of all. So a key must hold no dot, and the name of a picture is full of them:

    image "holiday/p.1.jpg", face 0   ->   holiday/p%2E1%2Ejpg-0   ->   holiday/p%2E1%2Ejpg-0.crop.jpg, ...

Letters and digits of ASCII, "-", "_", "~" and the slashes between folders stay; everything else is percent-encoded
(RFC 3986, 2.1), so `urllib.parse.unquote` gives the image's key back, different images never share a key, and no name
points out of the folder into which somebody unpacks the tar: ".." and a first slash are encoded as well. A folder or a
name longer than MAX_LENGTH, which a file system may refuse, is cut, and a hash of the whole takes the rest's place; the
image's key stands in the sample's JSON in any case.
"""

import hashlib
import re
from urllib.parse import quote

MAX_LENGTH = 150
"""Characters of a part of the path, encoded; with a face's number and a field's name it stays below 255."""

_DIGITS = 16  # of a hash, hexadecimal


def sample_key(image_key: str, face_index: int) -> str:
    """Return the key of a face of an image."""
    return f"{encoded(image_key)}-{face_index}"


def encoded(image_key: str) -> str:
    """Return an image's key as a path without dots."""
    # A slash at an end or beside another one would be lost in a path: it is a character of the name.
    parts = re.split(r"(?<=[^/])/(?=[^/])", image_key)
    return "/".join(_shortened(quote(part, safe="", errors="replace").replace(".", "%2E")) for part in parts)


def _shortened(part: str) -> str:
    if len(part) <= MAX_LENGTH:
        return part
    digest = hashlib.sha256(part.encode()).hexdigest()[:_DIGITS]
    return f"{part[: MAX_LENGTH - _DIGITS - 1]}~{digest}"
