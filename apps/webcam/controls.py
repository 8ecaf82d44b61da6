"""What the keys of the window set in motion."""

import time
from collections.abc import Callable
from pathlib import Path

from ...models.errors import FacefitError
from .keys import Action
from .pipeline import Tracked
from .session import Session
from .sinks import Sink
from .snapshots import Snapshots, unused

READ = 4.0  # s for which a message stays


class Controls:
    """Carries out actions on a session; what it has to say is in `messages`."""

    def __init__(self, session: Session, film: Callable[[Path], Sink], snapshots: Snapshots, folder: Path) -> None:
        """`film` makes the sink of a recording, which goes into `folder`."""
        self._session, self._film, self._snapshots, self._folder = session, film, snapshots, folder
        self._recording: tuple[Path, Sink] | None = None
        self._message, self._until = "", 0.0
        self.help, self.quitting = False, False

    @property
    def messages(self) -> tuple[str, ...]:
        """What to show now."""
        for sentence in self._snapshots.news():
            self._say(sentence)
        lines = ["paused: space goes on, s is one frame"] if self._session.pipeline.paused else []
        if self._recording is not None:
            lines.append(f"recording {self._recording[0]}")
        if time.monotonic() < self._until:
            lines.append(self._message)
        return tuple(lines)

    def perform(self, action: Action, shown: Tracked | None) -> None:
        """Carry out an action; `shown` is the frame that the person sees."""
        pipeline, painter = self._session.pipeline, self._session.painter
        match action:
            case Action.HELP:
                self.help = not self.help
            case Action.PAUSE:
                pipeline.toggle_pause()
            case Action.STEP:
                pipeline.step()
            case Action.VIEW:
                painter.view = painter.view.next
                self._say(f"view: {painter.view}")
            case Action.RESET:
                pipeline.reset()
                self._say("starting anew")
            case Action.CALIBRATE:
                pipeline.calibrate_neutral()
                self._say("this is neutral now")
            case Action.RECORD:
                self._toggle_recording()
            case Action.SNAPSHOT if shown is not None:
                self._say(self._snapshots.take(shown.frame.pixels))
            case Action.QUIT:
                self.quitting = True

    def finish(self) -> None:
        """Wait for what is under way."""
        for sentence in self._snapshots.finish():
            self._session.reporter.say(sentence)

    def _toggle_recording(self) -> None:
        try:
            if self._recording is not None:
                path, sink = self._recording
                self._recording = None
                self._session.remove_sink(sink)
                self._say(f"recorded {path}")
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            path = unused(self._folder / "film.mp4")
            sink = self._film(path)
        except (FacefitError, OSError) as problem:  # a person is in front of it: go on, and tell
            self._say(str(problem))
            return
        self._session.add_sink(sink)
        self._recording = path, sink

    def _say(self, sentence: str) -> None:
        self._message, self._until = sentence, time.monotonic() + READ
