"""`facefit webcam`: a face followed live.

Exit statuses: 0 the run ended as it should; 3 there was no face in all of it, or the source broke off; 2 the call was
wrong, or a file could not be written; 130 interrupted, with every file complete.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...models.errors import InvalidInputError
from ..choices import NO_USABLE_FIT
from .keys import help_lines
from .views import View

if TYPE_CHECKING:
    from ...fitting.tracking import TrackerOptions
    from ...models.morphable_model import MorphableModel
    from .pipeline import Tracks
    from .progress import Reporter
    from .session import Screen, Session, Summary
    from .sinks import Sink
    from .sources import Source

INTERRUPTED = 130
SMALLEST, LARGEST = 32, 8192  # px a side of a frame

# \b keeps the lines that follow it apart.
KEYS_HELP = "\b\nKeys in the window:\n" + "\n".join(f"  {line}" for line in help_lines())


class OscProtocol(StrEnum):
    """What is sent over OSC."""

    ARKIT = "arkit"
    VMC = "vmc"


def webcam(
    source: Annotated[
        str, typer.Argument(metavar="[SOURCE]", help="A camera's number, a video, a folder of pictures, or a URL.")
    ] = "0",
    headless: Annotated[bool, typer.Option("--headless", help="No window; files are worked through at once.")] = False,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="A model in the store, or its file.")] = "default",
    other: Annotated[
        Path | None, typer.Option("--as", metavar="FIT.npz", help="The avatar is this fit's person.")
    ] = None,
    faces: Annotated[int, typer.Option(min=1, metavar="N", help="How many faces to follow.")] = 1,
    photometric: Annotated[bool, typer.Option(help="Refine every frame by its pixels, too.")] = True,
    whole_clip: Annotated[
        bool, typer.Option("--whole-clip", help="Of a file: let later frames tell of earlier ones; with --headless.")
    ] = False,
    record: Annotated[Path | None, typer.Option(metavar="FILE.mp4", help="Write the annotated frames.")] = None,
    parameters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write pose and expression per frame: .npz or .csv.")
    ] = None,
    glb: Annotated[Path | None, typer.Option(metavar="FILE.glb", help="Write an animated head.")] = None,
    osc: Annotated[str | None, typer.Option(metavar="[HOST:]PORT", help="Send every frame there, live.")] = None,
    osc_protocol: Annotated[OscProtocol | None, typer.Option(help="What is sent over OSC. Default: arkit.")] = None,
    view: Annotated[View, typer.Option(help="How the face is drawn over the picture.")] = View.WIRE,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Asked of a camera (default: 640x480); larger frames are reduced to it."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after this many frames.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Where the window's keys write. Default: out.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Follow faces in a camera's picture or a video: in a window, in files, over the network.

    Exit status: 0 ended as it should, 3 no face at all or the source broke off, 2 the call was wrong or a file could
    not be written, 130 interrupted.
    """
    frame_size, address = _size(size), None if osc is None else _address(osc)
    if osc_protocol is not None and osc is None:
        raise InvalidInputError("--osc-protocol: expected --osc [HOST:]PORT beside it, got none")
    if headless and (other or out):
        raise InvalidInputError(f"{'--as' if other else '--out'}: expected a window, which it is for, got --headless")

    if whole_clip and not headless:
        raise InvalidInputError("--whole-clip: expected --headless beside it, got a window")

    from rich.console import Console

    from ...fitting.threads import single_threaded_blas
    from ...fitting.tracking import TrackerOptions
    from ...models.store import load_model
    from .drawing import Painter
    from .interruptions import Interruptions
    from .pipeline import Pipeline
    from .progress import ConsoleReporter, Reporter
    from .session import Session
    from .sources import open_source

    reporter = Reporter(Console(stderr=True))
    frames = open_source(source, size=frame_size, say=reporter.say)
    if whole_clip and frames.live:
        raise InvalidInputError(f"--whole-clip: expected a file, got {frames.name}, which is live")
    face_model = load_model(model)
    screen = None if headless else _screen(face_model, model, other, out or Path("out"), frames)
    with ExitStack() as stack:
        if headless and not quiet:
            total = min((n for n in (frames.expected, limit) if n is not None), default=None)
            reporter = stack.enter_context(ConsoleReporter(reporter.console, total))
        stack.enter_context(single_threaded_blas())
        interruptions = stack.enter_context(Interruptions().installed())
        options = TrackerOptions(faces=faces, photometric=photometric)
        again = partial(open_source, source, size=frame_size, say=lambda _: None) if whole_clip else None
        tracker = stack.enter_context(
            _tracker(face_model, options, again, limit, (lambda _: None) if quiet else reporter.say)
        )
        session = Session(
            Pipeline(frames, tracker, limit=limit, paced=not headless),
            Painter(face_model, view),
            _sinks(
                Files(record, parameters, glb),
                address,
                osc_protocol or OscProtocol.ARKIT,
                face_model,
                frames.rate,
                reporter.say,
            ),
            reporter,
            screen,
            interruptions,
        )
        summary = session.run()
    _conclude(summary, frames, reporter, quiet=quiet)


def _tracker(
    model: "MorphableModel",
    options: "TrackerOptions",
    again: "Callable[[], Source] | None",
    limit: int | None,
    say: Callable[[str], None],
) -> "AbstractContextManager[Tracks]":
    """Return what finds the faces: frame by frame, or from a whole file that can be opened `again`."""
    if again is None:
        from ...fitting.tracking import Tracker

        return Tracker(model, options)
    from .whole_clip import WholeClip

    return WholeClip(again, limit, model, options, say)


@dataclass(frozen=True)
class Files:
    """The files that a call asks for."""

    record: Path | None
    parameters: Path | None
    glb: Path | None


def _size(text: str | None) -> tuple[int, int] | None:
    """Return width and height, px, of a text like "640x480"; InvalidInputError for another."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise InvalidInputError(f"--size: expected WIDTHxHEIGHT in px, such as 640x480, got {text!r}")
    if not (SMALLEST <= int(width) <= LARGEST and SMALLEST <= int(height) <= LARGEST):
        raise InvalidInputError(f"--size: expected {SMALLEST} to {LARGEST} px a side, got {text!r}")
    return int(width), int(height)


def _address(text: str) -> tuple[str | None, int]:
    """Return host and port of a text like "39539", "192.168.0.7:39539" or "[::1]:39539"; InvalidInputError for another.

    The host is None where none is given: this machine.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535) or (colon and not host):
        raise InvalidInputError(f"--osc: expected PORT or HOST:PORT, the port from 1 to 65535, got {text!r}")
    return host or None, int(port)


def _sinks(
    files: Files,
    address: tuple[str | None, int] | None,
    protocol: OscProtocol,
    model: "MorphableModel",
    rate: float,
    say: Callable[[str], None],
) -> "list[Sink]":
    """Open what the call asks for, what is sent before what is written; after an error none is left open."""
    makers: list[Callable[[], Sink]] = []
    if address is not None:
        from .osc import OscSink

        makers.append(lambda: OscSink(*address, protocol.value, model, say=say))
    if (parameters := files.parameters) is not None:
        from .parameters_file import ParametersSink

        makers.append(lambda: ParametersSink(parameters, model, say=say))
    if (glb := files.glb) is not None:
        from .animated_glb import AnimatedGlbSink

        makers.append(lambda: AnimatedGlbSink(glb, model, say=say))
    if (record := files.record) is not None:
        from .video_file import VideoSink

        makers.append(lambda: VideoSink(record, rate, say=say))
    made: list[Sink] = []
    try:
        for make in makers:
            made.append(make())
    except BaseException:
        for sink in made:
            sink.close()
        raise
    return made


def _screen(
    model: "MorphableModel", name: str, other: Path | None, folder: Path, source: "Source"
) -> "Callable[[Session], Screen]":
    """Return what opens the window of a run."""
    from ...fitting.result_files import load_result
    from ...render.renderer import RendererUnavailableError
    from .avatar import Avatar
    from .controls import Controls
    from .snapshots import Snapshots
    from .video_file import VideoSink
    from .window import Window

    avatar = Avatar(model, None if other is None else load_result(other))

    def opened(session: "Session") -> "Screen":
        def film(path: Path) -> "Sink":
            return VideoSink(path, source.rate, say=session.reporter.say)

        controls = Controls(session, film, Snapshots(folder, name), folder)
        try:
            return Window(session.painter, controls, avatar)
        except RendererUnavailableError as problem:
            raise RendererUnavailableError(f"{problem}; without a screen, use --headless") from None

    return opened


def _conclude(summary: "Summary", source: "Source", reporter: "Reporter", *, quiet: bool) -> None:
    """Tell how a run went, and leave with its exit status."""
    if not quiet:
        typer.echo(summary.text(source.damaged))
    if summary.lost is not None:
        reporter.say(summary.lost)
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if summary.lost is not None:
        raise typer.Exit(NO_USABLE_FIT)
    if not summary.with_face:
        reporter.say(f"{source.name}: no face in any of {summary.frames} frames")
        raise typer.Exit(NO_USABLE_FIT)
