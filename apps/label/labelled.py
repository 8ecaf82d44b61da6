"""What became of one image, as it travels from a worker to the run. Standard library only: workers import it first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from .sources import Item

TARS = ("files", "maps", "mat")
"""Tars that a shard may have: maps' and .mat files', and one for exporters from elsewhere."""


class Outcome(StrEnum):
    """What an image counts as; every image is exactly one of these."""

    OK = "ok"  # at least one face has a usable fit
    NO_FACE = "no_face"  # no face was found
    REJECTED = "rejected"  # it is no picture, or no fit of its faces can be used
    QUARANTINED = "quarantined"  # its worker crashed, hung or ran out of memory, each time it was tried


@dataclass(frozen=True)
class Labelled:
    """One image: what it counts as, its rows, and what it took."""

    outcome: Outcome
    status: str | None  # name of a FitStatus; None for a quarantined image
    message: str  # one sentence; the same whenever and wherever the image is labelled
    image: Mapping[str, Any] = field(default_factory=dict)  # further columns of its row in images-*.parquet
    faces: tuple[Mapping[str, Any], ...] = ()  # its rows in faces-*.parquet, without the columns all rows share
    seconds: Mapping[str, float] = field(default_factory=dict)  # by step; differs from run to run
    files: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)  # one of TARS -> name in it -> content


class Fitter(Protocol):
    """What a worker does with an image."""

    def __call__(self, item: Item, data: bytes) -> Labelled:
        """Label the image whose file holds `data`. Wrong data end in an outcome; what it raises costs a try."""


class FitterSpec(Protocol):
    """How to make a Fitter: small and picklable, so that each worker builds its own."""

    @property
    def description(self) -> Mapping[str, Any]:
        """All that the records depend on, besides the images: options, model, code. JSON types."""

    def build(self) -> Fitter:
        """Return a fitter that is warm: everything is loaded and compiled. Runs in the worker."""


def unreadable(message: str) -> Labelled:
    """Return the outcome of an image whose bytes cannot be had, or are no picture."""
    return Labelled(Outcome.REJECTED, "BAD_INPUT", message)


def quarantined(reason: str) -> Labelled:
    """Return the outcome of an image that no worker survived."""
    return Labelled(Outcome.QUARANTINED, None, reason)
