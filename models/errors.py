"""The errors a wrong call raises. Wrong *data* (no face, NaN landmarks) is a status of the result instead."""


class FacefitError(Exception):
    """Base of every error that facefit raises on purpose; its text names what was expected and what was got."""


class InvalidInputError(FacefitError, ValueError):
    """An argument has a wrong shape, type or value, or an option is unknown."""


class ModelError(FacefitError):
    """A morphable model is missing, malformed or lacks what the call needs."""


class ImageError(FacefitError):
    """An image file is missing, unreadable, truncated, of an unsupported kind or too large."""


class LandmarkError(FacefitError):
    """A landmark file is missing or malformed."""


class MissingDependencyError(FacefitError, ImportError):
    """An optional library is not installed; the text says what to install."""


class OutputError(FacefitError):
    """A result cannot be written or read."""
