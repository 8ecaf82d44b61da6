"""What the keys of the window do: one table, for the window, its help on the screen, `--help` and the documentation."""

from dataclasses import dataclass
from enum import Enum, auto


class Action(Enum):
    """What a person can ask for while a run goes on."""

    HELP = auto()
    PAUSE = auto()
    STEP = auto()
    VIEW = auto()
    RESET = auto()
    CALIBRATE = auto()
    RECORD = auto()
    SNAPSHOT = auto()
    QUIT = auto()


@dataclass(frozen=True)
class Key:
    """One key."""

    label: str  # as written on a keyboard
    glfw: str  # glfw's name of it, without KEY_
    action: Action
    what: str  # it does, for people


KEYS = (
    Key("h", "H", Action.HELP, "show or hide this list"),
    Key("space", "SPACE", Action.PAUSE, "pause, and go on"),
    Key("s", "S", Action.STEP, "pause, and one frame further"),
    Key("v", "V", Action.VIEW, "the next view: wire, shaded, textured"),
    Key("r", "R", Action.RESET, "forget everybody and look again"),
    Key("n", "N", Action.CALIBRATE, "count the present expression as neutral"),
    Key("m", "M", Action.RECORD, "record a film (MP4), and end it"),
    Key("p", "P", Action.SNAPSHOT, "snapshot: a full fit of this frame"),
    Key("q", "Q", Action.QUIT, "quit"),
    Key("esc", "ESCAPE", Action.QUIT, "quit"),
)


def help_lines() -> list[str]:
    """Return a line per key, for letters that are all of one width."""
    return [f"{key.label:<6} {key.what}" for key in KEYS]
