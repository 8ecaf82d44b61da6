"""A run as a whole: what is shown, written and said, and that every sink is closed however it ends."""

import dataclasses
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_model import small_model
from webcam_stubs import StubReporter, StubSink, StubSource, StubTracker, frame, tracked_face

from facefit.apps.webcam import session as session_module
from facefit.apps.webcam.drawing import Painter
from facefit.apps.webcam.figures import Percentiles, Smoothed
from facefit.apps.webcam.interruptions import Interruptions
from facefit.apps.webcam.pipeline import Pipeline, PipelineError, Tracked
from facefit.apps.webcam.session import Session
from facefit.apps.webcam.sources import SourceLostError
from facefit.models.errors import OutputError

MODEL = small_model()


@dataclasses.dataclass
class StubScreen:
    """A person who looks at `patience` frames and then closes the window."""

    patience: int | None = None
    shown: list[Tracked] = dataclasses.field(default_factory=list)
    notes: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    closed: bool = False
    on_attend: Callable[[], None] = lambda: None

    def show(self, tracked: Tracked, figures: Any, notes: tuple[str, ...]) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.shown.append(tracked)
        self.notes.append(notes)

    def attend(self) -> bool:
        self.on_attend()
        return self.patience is None or len(self.shown) < self.patience

    def close(self) -> None:
        self.closed = True


def _session(
    source: StubSource, *sinks: StubSink, tracker: StubTracker | None = None, screen: Any = None, **pipeline: Any
) -> Session:
    tracker = StubTracker() if tracker is None else tracker
    make = None if screen is None else lambda session: screen
    return Session(Pipeline(source, tracker, **pipeline), Painter(MODEL), sinks, StubReporter(), make)


def _with_face_at(*numbers: int) -> StubTracker:
    return StubTracker(lambda seconds: [tracked_face(MODEL, seconds)] if round(30 * seconds) in numbers else [])


def test_every_frame_goes_to_every_sink_in_order() -> None:
    plain, drawn = StubSink(), StubSink(wants_picture=True)
    summary = _session(StubSource(count=8), plain, drawn, tracker=_with_face_at(1, 2, 5)).run()
    assert plain.numbers == drawn.numbers == list(range(8))
    assert (summary.frames, summary.with_face, summary.lost, summary.interrupted) == (8, 3, None, False)
    assert all(picture is not None and picture.shape == (48, 64, 3) for picture in drawn.pictures)
    assert plain.closed == drawn.closed == 1
    assert "8 frames at" in summary.text(2) and "3 with a face" in summary.text(2) and "2 damaged" in summary.text(2)


def test_nobody_draws_what_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = StubSink()
    session = _session(StubSource(count=3), sink)
    monkeypatch.setattr(session.painter, "picture", lambda *_: pytest.fail("drawn"))
    session.run()
    assert sink.pictures == [None] * 3


def test_a_closed_window_ends_the_run_and_completes_the_files() -> None:
    sink, screen = StubSink(), StubScreen(patience=4)
    source = StubSource(count=None)
    summary = _session(source, sink, screen=screen).run()
    assert len(screen.shown) == summary.frames == 4
    assert screen.closed and source.closed and sink.closed == 1
    assert sink.numbers == [0, 1, 2, 3]


def test_a_window_is_attended_while_no_frame_comes() -> None:
    attended = []
    screen = StubScreen(on_attend=lambda: attended.append(1))
    session = _session(StubSource(count=None), screen=screen)
    session.pipeline.toggle_pause()
    screen.on_attend = lambda: attended.append(1) or (len(attended) == 20 and session.pipeline.close())
    session.run()
    assert len(attended) >= 20 and not screen.shown


def test_a_window_that_does_not_open_leaves_nothing_open() -> None:
    sink = StubSink()

    def fails(session: Session) -> Any:
        raise OutputError("no screen")

    session = Session(Pipeline(StubSource(), StubTracker()), Painter(MODEL), [sink], StubReporter(), fails)
    with pytest.raises(OutputError, match="no screen"):
        session.run()
    assert sink.closed == 1 and not sink.numbers


def test_a_sink_that_fails_ends_the_run_with_its_sentence_and_the_others_are_complete() -> None:
    failing, other = StubSink(fails_at=2, problem=OutputError("disk full")), StubSink()
    source = StubSource(count=None)
    with pytest.raises(OutputError, match="disk full"):
        _session(source, other, failing).run()
    assert other.numbers == [0, 1, 2]
    assert failing.closed == other.closed == 1 and source.closed


def test_a_sink_that_cannot_be_completed_is_told_and_raised_after_the_others_are() -> None:
    class Unfinished(StubSink):
        def close(self) -> None:
            super().close()
            raise OutputError("no room for the end")

    first, last = StubSink(), StubSink()
    session = _session(StubSource(count=2), first, Unfinished(), last)
    with pytest.raises(OutputError, match="no room"):
        session.run()
    assert first.closed == last.closed == 1
    assert session.reporter.said == ["no room for the end"]  # type: ignore[attr-defined]


def test_an_interruption_completes_the_files() -> None:
    sink = StubSink(fails_at=3, problem=KeyboardInterrupt())
    summary = _session(StubSource(count=None), sink).run()
    assert summary.interrupted and summary.frames == 3
    assert sink.closed == 1


def test_a_lost_source_is_part_of_the_summary_and_other_errors_are_raised() -> None:
    sink = StubSink()
    summary = _session(StubSource(count=3, problem=SourceLostError("stub: broke off")), sink).run()
    assert (summary.lost, summary.frames, sink.closed) == ("stub: broke off", 3, 1)
    with pytest.raises(PipelineError, match="track: expected no error"):
        _session(StubSource(), sink := StubSink(), tracker=StubTracker(fails_at=1)).run()
    assert sink.closed == 1


def test_latency_is_counted_from_capture_to_the_end_of_writing() -> None:
    """A frame that was captured a second before it comes out is a second late, at least."""

    def old(number: int) -> Any:
        fresh = frame(number)
        return dataclasses.replace(fresh, captured=fresh.captured - 1.0)

    summary = _session(StubSource(count=5, make=old)).run()
    assert len(summary.latency) == 5
    assert 1.0 <= summary.latency.at(5.0) <= summary.latency.at(95.0) < 3.0


def test_ten_seconds_without_a_face_are_told_once_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "LONELY", 0.2)  # 6 frames
    screen = StubScreen()
    session = _session(StubSource(count=40), screen=screen, tracker=_with_face_at(0, 20))
    session.run()
    alone = [bool(notes) for notes in screen.notes]
    expected = [6 <= k < 20 or k >= 26 for k in range(40)]
    assert alone == expected
    assert len(session.reporter.said) == 2  # type: ignore[attr-defined]


def test_no_face_from_the_start_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "LONELY", 0.2)
    session = _session(StubSource(count=10))
    assert session.run().with_face == 0
    assert session.reporter.said == ["no face for 0 s; going on"]  # type: ignore[attr-defined]


# --- Figures -----------------------------------------------------------------------------------------------------


def test_percentiles_are_those_of_all_values(rng: np.random.Generator) -> None:
    values, counted = rng.gamma(2.0, 0.01, 10_000), Percentiles()
    assert counted.at(50.0) == 0.0
    for value in values:
        counted.add(value)
    for percent in (1.0, 50.0, 95.0, 100.0):
        exact = np.percentile(values, percent, method="inverted_cdf")
        assert counted.at(percent) == pytest.approx(exact, abs=Percentiles.RESOLUTION)
    counted.add(1e9)
    counted.add(-1.0)
    assert counted.at(100.0) == pytest.approx(Percentiles.LONGEST)
    assert len(counted) == 10_002


def test_a_smoothed_value_starts_at_the_first_and_forgets() -> None:
    mean = Smoothed(0.5)
    assert mean.value == 0.0
    mean.add(4.0)
    assert mean.value == 4.0
    mean.add(0.0)
    assert mean.value == 2.0


def test_a_signal_waits_for_the_end_of_a_frame_and_a_second_one_does_not() -> None:
    reached = []

    def frame_of(interruptions: Interruptions, number: signal.Signals) -> None:
        with interruptions.held_back():
            signal.raise_signal(number)
            reached.append(number)

    with Interruptions().installed() as interruptions:
        for number in (signal.SIGTERM, signal.SIGINT):
            with pytest.raises(KeyboardInterrupt):
                frame_of(interruptions, number)
    assert reached == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
