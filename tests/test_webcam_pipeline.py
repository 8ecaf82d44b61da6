"""Capture, tracking and showing, each in its thread: order, latency, pausing, and every way to end."""

import itertools
import threading
import time

import pytest
from webcam_stubs import RATE, StubSource, StubTracker, frame

from facefit.apps.webcam.pipeline import Pipeline, PipelineError
from facefit.apps.webcam.sources import SourceLostError
from facefit.models.errors import InvalidInputError

SOON = 20.0  # s, after which what should have come is taken not to come


def _numbers(pipeline: Pipeline, period: float = 0.0) -> list[int]:
    """Take all frames, `period` seconds apart."""
    numbers = []
    while not pipeline.ended:
        if (tracked := pipeline.take(SOON)) is not None:
            numbers.append(tracked.frame.number)
            time.sleep(period)
    return numbers


def _until(condition: object) -> bool:
    """Wait until something is true."""
    assert callable(condition)
    deadline = time.monotonic() + SOON
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return bool(condition())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> object:
    yield
    assert _until(lambda: not [t for t in threading.enumerate() if t.name.startswith("facefit-")])


def test_a_files_frames_all_come_in_order_however_slow_the_reader() -> None:
    source, tracker = StubSource(count=30), StubTracker(duration=0.001)
    pipeline = Pipeline(source, tracker)
    pipeline.start()
    assert _numbers(pipeline, period=0.004) == list(range(30))
    pipeline.close()
    assert tracker.log == list(range(30))
    assert pipeline.dropped == 0 and pipeline.problem is None and source.closed


def test_a_file_is_read_no_faster_than_it_is_shown() -> None:
    """One frame in the reader's hand, one ready for it: no more, so that none grows old on the way."""
    source = StubSource(count=100)
    pipeline = Pipeline(source, StubTracker())
    pipeline.start()
    for shown in range(1, 5):
        assert pipeline.take(SOON) is not None
        assert _until(lambda shown=shown: source.given == shown + 1)
        time.sleep(0.02)
        assert source.given == shown + 1
    pipeline.close()


def test_late_frames_of_a_camera_are_dropped_and_the_shown_ones_are_fresh() -> None:
    """A camera at 500 frames a second, a tracker at some 50: nothing queues, so no frame is old when it comes out."""
    source, tracker = StubSource(count=400, live=True, period=0.002), StubTracker(duration=0.02)
    pipeline = Pipeline(source, tracker)
    pipeline.start()
    ages, numbers = [], []
    while not pipeline.ended:
        if (tracked := pipeline.take(SOON)) is not None:
            numbers.append(tracked.frame.number)
            ages.append(source.given - 1 - tracked.frame.number)  # frames that were captured since
    pipeline.close()
    assert numbers == sorted(set(numbers)), "in order, none twice"
    assert pipeline.dropped == 400 - len(numbers) > 100
    assert max(ages) < 100, "what a queue would have kept is several times as many"


def test_nothing_is_tracked_that_is_not_shown() -> None:
    tracker = StubTracker()
    pipeline = Pipeline(StubSource(count=200, live=True, period=0.001), tracker)
    pipeline.start()
    numbers = _numbers(pipeline, period=0.02)
    pipeline.close()
    assert numbers == tracker.log
    assert numbers[-1] == 199, "the last one is not lost"
    assert len(numbers) + pipeline.dropped == 200


def test_only_the_tracking_thread_calls_the_tracker_and_orders_come_between_frames() -> None:
    tracker = StubTracker()
    pipeline = Pipeline(StubSource(count=4), tracker)
    pipeline.step()  # shut before the first frame
    pipeline.calibrate_neutral()
    pipeline.reset()
    pipeline.start()
    assert pipeline.take(SOON) is not None
    pipeline.reset()
    pipeline.toggle_pause()
    assert _numbers(pipeline) == [1, 2, 3]
    pipeline.close()
    assert tracker.log == ["calibrate", "reset", 0, "reset", 1, 2, 3]
    assert len(tracker.threads) == 1 and threading.get_ident() not in tracker.threads


def test_pausing_stops_a_file_and_each_step_is_one_frame() -> None:
    pipeline = Pipeline(StubSource(count=6), StubTracker())
    pipeline.step()
    pipeline.start()
    assert pipeline.paused
    for number in range(3):
        tracked = pipeline.take(SOON)
        assert tracked is not None and tracked.frame.number == number
        assert pipeline.take(0.05) is None, "nothing more while it is paused"
        if number < 2:
            pipeline.step()
    pipeline.toggle_pause()
    assert not pipeline.paused
    assert _numbers(pipeline) == [3, 4, 5]
    pipeline.close()


def test_going_on_after_steps_that_nobody_waited_for_leaves_none_over() -> None:
    pipeline = Pipeline(StubSource(count=None), StubTracker())
    for _ in range(5):
        pipeline.step()
    pipeline.toggle_pause()
    pipeline.toggle_pause()
    pipeline.start()
    assert pipeline.take(0.1) is None
    pipeline.close()


def test_a_paused_camera_goes_on_with_its_newest_frame() -> None:
    source = StubSource(count=None, live=True, period=0.002)
    pipeline = Pipeline(source, StubTracker())
    pipeline.step()
    pipeline.start()
    first = pipeline.take(SOON)
    assert first is not None
    assert _until(lambda: source.given > 50)
    pipeline.step()
    second = pipeline.take(SOON)
    assert second is not None and second.frame.number > 40
    pipeline.close()


def test_the_limit_counts_tracked_frames() -> None:
    pipeline = Pipeline(StubSource(count=None), StubTracker(), limit=7)
    pipeline.start()
    assert _numbers(pipeline) == list(range(7))
    pipeline.close()
    assert pipeline.problem is None


def test_a_paced_file_takes_its_own_time_and_frames_count_as_captured_when_due() -> None:
    pipeline = Pipeline(StubSource(count=6), StubTracker(), paced=True)
    started = time.perf_counter()
    pipeline.start()
    captured = []
    while not pipeline.ended:
        if (tracked := pipeline.take(SOON)) is not None:
            captured.append(tracked.frame.captured - started)
    pipeline.close()
    gaps = [b - a for a, b in itertools.pairwise(captured)]
    assert min(gaps) > 0.9 / RATE, "none comes before its time"


def test_a_camera_is_not_paced() -> None:
    pipeline = Pipeline(StubSource(count=20, live=True, make=lambda k: frame(1000 * k)), StubTracker(), paced=True)
    pipeline.start()
    assert _numbers(pipeline)[-1] == 19_000, "20 frames that say they are 33 s apart"
    pipeline.close()


# --- Every way to end --------------------------------------------------------------------------------------------


def test_a_source_that_breaks_off_lets_its_frames_through_and_then_says_so() -> None:
    pipeline = Pipeline(StubSource(count=5, problem=SourceLostError("stub: broke off")), StubTracker())
    pipeline.start()
    assert _numbers(pipeline) == [0, 1, 2, 3, 4]
    pipeline.close()
    assert isinstance(pipeline.problem, SourceLostError)


def test_an_error_in_the_capture_thread_ends_the_run_with_a_sentence() -> None:
    pipeline = Pipeline(StubSource(count=2, problem=KeyError("driver")), StubTracker())
    pipeline.start()
    assert _numbers(pipeline) == [0, 1]
    pipeline.close()
    assert isinstance(pipeline.problem, PipelineError)
    assert str(pipeline.problem) == "capture: expected no error, got KeyError: 'driver'"
    assert isinstance(pipeline.problem.__cause__, KeyError)


def test_an_error_in_the_tracking_thread_ends_the_run_and_stops_the_source() -> None:
    source = StubSource(count=None)
    pipeline = Pipeline(source, StubTracker(fails_at=3))
    pipeline.start()
    assert _numbers(pipeline) == [0, 1, 2]
    assert _until(lambda: source.closed)
    pipeline.close()
    assert str(pipeline.problem) == "track: expected no error, got ZeroDivisionError: a stub's"


def test_an_error_of_ours_keeps_its_kind() -> None:
    tracker = StubTracker(fails_at=0, problem=InvalidInputError("expected, got"))
    pipeline = Pipeline(StubSource(count=None), tracker)
    pipeline.start()
    assert _numbers(pipeline) == []
    pipeline.close()
    assert pipeline.problem is tracker.problem


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("paused", [True, False])
def test_closing_in_the_middle_ends_everything(live: bool, paused: bool) -> None:
    source = StubSource(count=None, live=live, period=0.001)
    pipeline = Pipeline(source, StubTracker(duration=0.005))
    pipeline.start()
    assert pipeline.take(SOON) is not None
    if paused:
        pipeline.toggle_pause()
    pipeline.close()
    assert pipeline.ended and source.closed and pipeline.problem is None
    assert pipeline.take() is None


def test_closing_what_was_never_started_is_nothing() -> None:
    Pipeline(StubSource(), StubTracker()).close()
