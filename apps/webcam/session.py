"""One run: what comes out of the pipeline is shown, written and sent, until the source, the limit or a person ends it.

Runs in the main thread. However a run ends, it ends between two frames, and every sink is closed: files are whole.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...models.errors import FacefitError
from .drawing import Painter
from .figures import Percentiles, Smoothed
from .hud import Figures
from .interruptions import Interruptions
from .pipeline import Pipeline, Tracked
from .progress import Reporter
from .sinks import Sink
from .sources import SourceLostError

POLL = 1.0 / 120.0  # s between two looks at a window's events while no frame comes
WARMING = 2  # frames that the figures on the screen leave out: loading and compiling take seconds
LONELY = 10.0  # s without a face after which a person is told


class Screen(Protocol):
    """What shows a run to a person; `window.py` has the one there is."""

    def show(self, tracked: Tracked, figures: Figures, notes: tuple[str, ...]) -> None:
        """Show a frame."""

    def attend(self) -> bool:
        """Look after the person's wishes; False once they want no more."""

    def close(self) -> None:
        """Take it off the screen."""


@dataclass(frozen=True)
class Summary:
    """What a run was."""

    frames: int  # shown
    with_face: int  # of them
    dropped: int  # late
    seconds: float  # from the first frame to the last
    latency: Percentiles  # from capture to the end of drawing and writing
    interrupted: bool  # by the person at the keyboard
    lost: str | None  # the sentence with which the source broke off

    def text(self, damaged: int) -> str:
        """Return it as a line of text; `damaged` frames could not be decoded."""
        rate = f" at {(self.frames - 1) / self.seconds:.1f} a second" if self.seconds > 0.0 else ""
        text = f"{self.frames} frames{rate}, {self.with_face} with a face"
        if self.frames:
            median, most = 1e3 * self.latency.at(50.0), 1e3 * self.latency.at(95.0)
            text += f"; latency {median:.0f} ms, {most:.0f} ms at most for 95 %"
        counts = ((self.dropped, "came too late"), (damaged, "damaged"))
        return text + "".join(f"; {count} {what}" for count, what in counts if count)


class Session:
    """A run of a pipeline with a painter, sinks and perhaps a screen."""

    def __init__(
        self,
        pipeline: Pipeline,
        painter: Painter,
        sinks: Sequence[Sink],
        reporter: Reporter,
        screen: Callable[["Session"], Screen] | None = None,
        interruptions: Interruptions | None = None,
    ) -> None:
        """`screen` makes what shows the run, if anything does, when it starts; it may use the session's methods."""
        self._interruptions = interruptions or Interruptions()
        self.pipeline, self.painter, self.reporter = pipeline, painter, reporter
        self._sinks = list(sinks)
        self._make_screen = screen
        self._screen: Screen | None = None
        self._latency = Percentiles()
        self._steps: dict[str, Smoothed] = {}
        self._interval, self._lag = Smoothed(), Smoothed()
        self._count = self._with_face = 0
        self._first = self._last = 0.0  # time.perf_counter() of the first and the last frame
        self._seen: float | None = None  # s, presentation time of the last face
        self._told = False

    def run(self) -> Summary:
        """Run to the end. Raises what a thread or a sink failed with, after closing all."""
        interrupted = False
        try:
            self._screen = None if self._make_screen is None else self._make_screen(self)
            self.pipeline.start()
            self._loop()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.pipeline.close()
            problems = self._close_all()
        problem = self.pipeline.problem
        if problem is not None and not isinstance(problem, SourceLostError):
            raise problem
        if problems:
            raise problems[0]
        return Summary(
            self._count, self._with_face, self.pipeline.dropped, self._last - self._first, self._latency,
            interrupted, None if problem is None else str(problem),
        )  # fmt: skip

    def add_sink(self, sink: Sink) -> None:
        """Write to one more from now on."""
        self._sinks.append(sink)

    def remove_sink(self, sink: Sink) -> None:
        """Finish one."""
        self._sinks.remove(sink)
        sink.close()

    def _loop(self) -> None:
        while not self.pipeline.ended:
            tracked = self.pipeline.take(None if self._screen is None else POLL)
            if tracked is not None:
                with self._interruptions.held_back():
                    self._show(tracked)
            if self._screen is not None and not self._screen.attend():
                return

    def _show(self, tracked: Tracked) -> None:
        """Show a frame, and write it."""
        notes = self._notes(tracked)
        figures = self._figures()
        if self._screen is not None:
            self._screen.show(tracked, figures, notes)
        wanted = any(sink.wants_picture for sink in self._sinks)
        picture = self.painter.picture(tracked, figures, notes) if wanted else None
        for sink in tuple(self._sinks):
            sink.write(tracked.frame, tracked.faces, picture)
        self._measure(tracked)
        self.reporter.advance(self._count, figures)

    def _measure(self, tracked: Tracked) -> None:
        now = time.perf_counter()
        self._first = self._first if self._count else now
        self._count += 1
        self._with_face += bool(tracked.faces)
        self._latency.add(now - tracked.frame.captured)
        if self._count > WARMING:
            self._interval.add(now - self._last)
            self._lag.add(now - tracked.frame.captured)
            steps = {"track": tracked.seconds, **(tracked.faces[0].timings if tracked.faces else {})}
            self._steps = {name: self._steps.get(name, Smoothed()) for name in steps}  # some run in some frames only
            for name, seconds in steps.items():
                self._steps[name].add(seconds)
        self._last = now

    def _figures(self) -> Figures:
        rate = 1.0 / self._interval.value if self._interval.value > 0.0 else 0.0
        steps = {name: step.value for name, step in self._steps.items()}
        return Figures(rate, self._lag.value, steps, self.pipeline.dropped)

    def _notes(self, tracked: Tracked) -> tuple[str, ...]:
        """Return what to tell about faces that stay away; the first time it is said aloud."""
        now = tracked.frame.seconds
        if tracked.faces or self._seen is None:
            self._seen, self._told = now, self._told and not tracked.faces
        away = now - self._seen
        if away < LONELY:
            return ()
        if not self._told:
            self._told = True
            self.reporter.say(f"no face for {LONELY:.0f} s; going on")
        return (f"no face for {away:.0f} s",)

    def _close_all(self) -> list[FacefitError]:
        """Close what is left, each whatever becomes of the others; return what failed."""
        problems = []
        if self._screen is not None:
            self._screen.close()
        while self._sinks:
            try:
                self._sinks.pop().close()
            except FacefitError as problem:
                problems.append(problem)
                self.reporter.say(str(problem))
        return problems
