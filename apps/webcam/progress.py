"""What a run without a window tells while it goes on: a bar on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .hud import Figures

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 10.0  # between two lines where there is no terminal


class Reporter:
    """Tells sentences only."""

    def __init__(self, console: "Console") -> None:
        """Write to `console`."""
        self.console = console

    def say(self, sentence: str) -> None:
        """Print a sentence; from any thread."""
        self.console.print(f"facefit: {sentence}", markup=False, highlight=False, soft_wrap=True)

    def advance(self, count: int, figures: Figures) -> None:
        """Tell that so many frames are through, which this reporter keeps to itself."""


class ConsoleReporter(Reporter):
    """Tells a person at a terminal, or the reader of a log. A context manager: leaving it removes the bar."""

    def __init__(self, console: "Console", total: int | None) -> None:
        """`total`: frames that there will be; None where nobody knows."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__(console)
        of_all = "" if total is None else f"/{total}"
        columns = (BarColumn(), TextColumn("{task.completed}" + of_all), TextColumn("{task.fields[figures]}"),
                   TimeElapsedColumn())  # fmt: skip
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("tracking", total=total, figures="")
        self._of_all, self._told = of_all, time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, count: int, figures: Figures) -> None:
        """Move the bar, or print a line now and then."""
        text = figures.lines()[0]
        self._bar.update(self._task, completed=count, figures=text)
        if not self.console.is_terminal and time.monotonic() - self._told > LINE_SECONDS:
            self._told = time.monotonic()
            self.say(f"{count}{self._of_all} frames, {text}")
