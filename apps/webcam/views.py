"""How the fitted face is shown; apart from what draws it, so that the command line knows the names at once."""

from enum import StrEnum


class View(StrEnum):
    """What lies over the face in the picture."""

    WIRE = "wire"
    SHADED = "shaded"
    TEXTURED = "textured"

    @property
    def next(self) -> "View":
        """The view that the key for it changes to."""
        views = list(View)
        return views[(views.index(self) + 1) % len(views)]
