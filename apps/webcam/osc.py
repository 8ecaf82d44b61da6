"""Live expressions and the head's turn over OSC (Open Sound Control) by UDP, for avatars and other programs.

One person is sent, the one followed longest of those in the picture. Two layouts, frame by frame:

vmc: the Virtual Motion Capture protocol, version 2.7, as a performer or an assistant

    /VMC/Ext/OK          loaded 1, calibration state 3, mode 0, tracking 1 (0: no face; then only this and the time)
    /VMC/Ext/T           time, s, from the first frame
    /VMC/Ext/Bone/Pos    "Head", position 0 0 0, rotation x y z w
    /VMC/Ext/Blend/Val   name, weight: each unit, by its ARKit name with a capital letter, as Perfect Sync wants it
    /VMC/Ext/Blend/Apply

arkit: a message per value. There is no standard for it; names in the address are what most programs can map by hand

    /arkit/tracked       1, or 0 without a face; then nothing else
    /arkit/head          yaw, pitch, roll, degrees
    /arkit/NAME          weight: each unit, such as /arkit/jawOpen

The bone's rotation is in Unity's frame, which is left-handed: x to the avatar's right, y up, z ahead. With the head's
rotation M in the frame x to image right, y up, z towards the camera (`head.py`), the same turn seen with x reversed is

    M' = D M D,    D = diag(-1, 1, 1)

so the avatar turns to its left where the person does: what a mirror does not. It is the head's turn against the camera;
who sends no neck and no chest has nothing else it could be against.

Messages go in bundles of at most DATAGRAM bytes, each with the time tag "immediately". Whether anybody listens does not
matter: UDP has no answer, and what the system says of a closed port on this machine is told once.

Sources: M. Wright, "The Open Sound Control 1.0 Specification", 2002; protocol.vmc.info, Marionette specification.
"""

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...models.errors import InvalidInputError, MissingDependencyError
from ...models.morphable_model import MorphableModel
from .head import Head, head_of, quaternion, unit_names
from .output import Say, to_stderr

if TYPE_CHECKING:
    from ...fitting.tracking import TrackedFace
    from .frames import Frame

Value = int | float | str
Message = tuple[str, *tuple[Value, ...]]  # an address and its values

LOOPBACK = "127.0.0.1"
DATAGRAM = 1400  # bytes: less than an Ethernet frame holds, so that none is split on its way
_HEADER, _SIZE = 16, 4  # bytes of a bundle's head, and before each message in it
_UNITY = np.diag([-1.0, 1.0, 1.0])


class OscSink:
    """Sends one person's expression and turn of the head, frame by frame."""

    wants_picture = False

    def __init__(
        self, host: str | None, port: int, protocol: str, model: MorphableModel, *, say: Say = to_stderr
    ) -> None:
        """Send to a port of a host, by name or address (None: this machine), in a protocol of PROTOCOLS.

        Raises InvalidInputError for another protocol, a port that is none and an unknown host, MissingDependencyError
        without python-osc.
        """
        if protocol not in PROTOCOLS:
            raise InvalidInputError(f"protocol: expected {' or '.join(PROTOCOLS)}, got {protocol!r}")
        if not 1 <= port <= 65535:
            raise InvalidInputError(f"port: expected a number from 1 to 65535, got {port!r}")
        try:
            self._messages: Any = import_module("pythonosc.osc_message_builder")
            self._bundles: Any = import_module("pythonosc.osc_bundle_builder")
        except ImportError:
            raise MissingDependencyError("OSC needs python-osc: pip install 'facefit[live]'") from None
        self._layout, self._names, self._say = PROTOCOLS[protocol], unit_names(model), say
        self._socket, self._receiver = _opened(host or LOOPBACK, port)
        self._connected = False
        self._start: float | None = None  # s, of the first frame
        self._seconds = 0.0  # of the last frame, from the first
        self._told = False  # that nobody seems to listen

    def write(self, frame: "Frame", faces: Sequence["TrackedFace"], picture: NDArray[np.uint8] | None) -> None:
        """Send a frame's face; what cannot be sent is lost, without an error."""
        if self._start is None:
            self._start = frame.seconds
        self._seconds = frame.seconds - self._start
        heads = [(face.track, head) for face in faces if (head := head_of(face)) is not None]
        _, head = min(heads, key=lambda pair: pair[0], default=(0, None))
        self._send(head)

    def close(self) -> None:
        """Tell the receiver that no face is tracked any more, and close the socket."""
        if self._start is not None:
            self._send(None)
        self._socket.close()

    def _send(self, head: Head | None) -> None:
        try:
            if not self._connected:  # a connected socket is told where nobody listens
                self._socket.connect(self._receiver)
                self._connected = True
            for datagram in self._datagrams(self._layout(self._seconds, head, self._names)):
                try:
                    self._socket.send(datagram)
                except ConnectionError:  # about a datagram before; this one was not sent
                    self._tell_once("nothing listens there yet")
                    self._socket.send(datagram)
        except (BlockingIOError, ConnectionError):
            pass  # a full buffer, or still nobody: the next frame is worth more than the rest of this one
        except OSError as problem:
            self._tell_once(problem.strerror or str(problem))

    def _tell_once(self, reason: str) -> None:
        if not self._told:
            self._told = True
            host, port = self._receiver[:2]
            self._say(f"OSC to {host}:{port}: {reason}; sending goes on")

    def _datagrams(self, messages: Iterator[Message]) -> Iterator[bytes]:
        """Yield bundles of messages, each as full as it may be."""
        bundle, size = self._bundles.OscBundleBuilder(self._bundles.IMMEDIATELY), _HEADER
        for address, *values in messages:
            message = self._message(address, values)
            if size > _HEADER and size + _SIZE + message.size > DATAGRAM:
                yield bundle.build().dgram
                bundle, size = self._bundles.OscBundleBuilder(self._bundles.IMMEDIATELY), _HEADER
            bundle.add_content(message)
            size += _SIZE + message.size
        yield bundle.build().dgram

    def _message(self, address: str, values: Sequence[Value]) -> Any:
        builder = self._messages.OscMessageBuilder(address)
        for value in values:
            builder.add_arg(value, {int: "i", float: "f", str: "s"}[type(value)])
        return builder.build()


def in_unity(upright: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation (3, 3) in Unity's frame of `Head.upright` (see the module's text)."""
    return _UNITY @ upright @ _UNITY


def _vmc(seconds: float, head: Head | None, names: list[str]) -> Iterator[Message]:
    """Yield a frame's messages of the Virtual Motion Capture protocol."""
    yield ("/VMC/Ext/OK", 1, 3, 0, int(head is not None))
    yield ("/VMC/Ext/T", float(seconds))
    if head is None:
        return
    yield ("/VMC/Ext/Bone/Pos", "Head", 0.0, 0.0, 0.0, *quaternion(in_unity(head.upright)).tolist())
    for name, weight in zip(names, head.expression.tolist(), strict=True):
        yield ("/VMC/Ext/Blend/Val", name[:1].upper() + name[1:], weight)
    yield ("/VMC/Ext/Blend/Apply",)


def _arkit(seconds: float, head: Head | None, names: list[str]) -> Iterator[Message]:
    """Yield a frame's messages, one a value."""
    yield ("/arkit/tracked", int(head is not None))
    if head is None:
        return
    yield ("/arkit/head", *head.angles)
    for name, weight in zip(names, head.expression.tolist(), strict=True):
        yield (f"/arkit/{_UNFIT.sub('_', name)}", weight)


_UNFIT = re.compile(r"[^!-~]|[#*,/?\[\]{}]")  # what an OSC address may not hold, and what separates its parts

PROTOCOLS: Mapping[str, Callable[[float, Head | None, list[str]], Iterator[Message]]] = MappingProxyType(
    {"arkit": _arkit, "vmc": _vmc}
)
"""What can be sent, by name."""


def _opened(host: str, port: int) -> tuple[socket.socket, Any]:
    """Return a UDP socket and the address it sends to; InvalidInputError for a host that nobody knows."""
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise InvalidInputError(f"OSC: expected the name or address of a host, got {host!r}") from None
    # Receivers listen on IPv4 mostly, also where "localhost" means IPv6 first.
    family, kind, number, _, address = min(known, key=lambda one: one[0] != socket.AF_INET)
    channel = socket.socket(family, kind, number)
    channel.setblocking(False)
    with suppress(OSError):
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)  # to all of a network, where that is the address
    return channel, address
