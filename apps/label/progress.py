"""What a run tells while it goes on: a bar on a terminal, a line every half minute elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from .ledger import Counts

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 30.0  # between two lines where there is no terminal


class Reporter(Protocol):
    """Whom a run tells what happens."""

    def say(self, sentence: str) -> None:
        """Tell what a person should know, such as an image that is quarantined."""

    def begin(self, total: int, done: int) -> None:
        """Tell how many images there are, and how many are through since earlier runs."""

    def advance(self, counts: Counts) -> None:
        """Tell that an image is through, and what all so far count as."""


class Silent:
    """Tells nothing."""

    def say(self, sentence: str) -> None:
        """Keep it."""

    def begin(self, total: int, done: int) -> None:
        """Keep it."""

    def advance(self, counts: Counts) -> None:
        """Keep it."""


class ConsoleReporter:
    """Tells a person at a terminal, or the reader of a log. A context manager: leaving it removes the bar."""

    def __init__(self, console: "Console", *, progress: bool = True) -> None:
        """Write to `console`; without `progress` only sentences."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(10), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
                   TextColumn("{task.fields[counts]}"))  # fmt: skip
        self._console, self._progress = console, progress
        self._bar = Progress(*columns, console=console, transient=True, disable=not (progress and console.is_terminal))
        self._task = self._bar.add_task("labelling", total=None, rate="", counts="")
        self._total = self._before = self._now = 0
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self._console.print(f"facefit: {sentence}", markup=False, highlight=False, soft_wrap=True)

    def begin(self, total: int, done: int) -> None:
        """Start the clock of the rate."""
        self._total, self._before, self._now = total, done, done
        self._started = self._told = time.monotonic()
        self._bar.update(self._task, total=total, completed=done)

    def advance(self, counts: Counts) -> None:
        """Move the bar, or print a line now and then."""
        self._now += 1
        now = time.monotonic()
        rate = (self._now - self._before) / max(now - self._started, 1e-3)
        self._bar.update(self._task, completed=self._now, rate=f"{rate:.1f}/s", counts=_briefly(counts))
        if self._progress and not self._console.is_terminal and now - self._told > LINE_SECONDS:
            self._told = now
            left = (self._total - self._now) / rate / 60.0
            self.say(f"{self._now:,} of {self._total:,}, {rate:.1f}/s, {left:.0f} min left; {shown(counts)}")


def _briefly(counts: Counts) -> str:
    """Return what is not zero of the counts, for a bar that leaves little room."""
    names = {"ok": "ok", "no_face": "no face", "rejected": "rejected", "quarantined": "quarantined"}
    return ", ".join(f"{getattr(counts, name):,} {text}" for name, text in names.items() if getattr(counts, name))


def shown(counts: Counts) -> str:
    """Return counts as a line."""
    return (
        f"{counts.ok:,} ok, {counts.no_face:,} without a face, {counts.rejected:,} rejected, "
        f"{counts.quarantined:,} quarantined; {counts.faces:,} faces"
    )
