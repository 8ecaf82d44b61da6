"""What a webcam's run sends by OSC, received by a socket and read by python-osc's server classes."""

import socket
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_model import small_model
from webcam_scenes import Said, face, frame

import facefit
from facefit.apps.webcam import osc
from facefit.apps.webcam.osc import DATAGRAM, PROTOCOLS, OscSink
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.fitting.tracking import TrackedFace
from facefit.models.errors import InvalidInputError, MissingDependencyError
from facefit.models.formats.ict import ARKIT
from facefit.models.morphable_model import MorphableModel

osc_packet = pytest.importorskip("pythonosc.osc_packet")

Message = tuple[str, list[Any]]


class Receiver:
    """A receiver on this machine."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5.0)
        self.port: int = self.socket.getsockname()[1]
        self.sizes: list[int] = []  # bytes of each datagram

    def messages(self, last: str) -> list[Message]:
        """Messages up to and with the first to an address."""
        there: list[Message] = []
        while not there or there[-1][0] != last:
            datagram = self.socket.recv(65536)
            self.sizes.append(len(datagram))
            packet = osc_packet.OscPacket(datagram)
            there += [(one.message.address, list(one.message.params)) for one in packet.messages]
        return there


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    there = Receiver()
    yield there
    there.socket.close()


@pytest.fixture
def model() -> MorphableModel:
    return facefit.load_model("default")


def unit_weights(model: MorphableModel) -> np.ndarray:
    return np.linspace(0.0, 1.0, model.n_expression)


def sent(
    receiver: Receiver, model: MorphableModel, protocol: str, faces: list[TrackedFace], last: str
) -> list[Message]:
    """What a sink sends of one frame."""
    sink = OscSink(None, receiver.port, protocol, model, say=Said())
    sink.write(frame(0, 3.5), faces, None)
    there = receiver.messages(last)
    sink.close()
    return there


# --- arkit ---------------------------------------------------------------------------------------------------------


def test_arkit_sends_a_message_per_value(receiver: Receiver, model: MorphableModel) -> None:
    seen = face(model, expression=unit_weights(model), angles=(20.0, -5.0, 12.5))
    last = f"/arkit/{model.expression_names[-1]}"
    (tracked, head, *units) = sent(receiver, model, "arkit", [seen], last)
    assert tracked == ("/arkit/tracked", [1])
    assert head[0] == "/arkit/head"
    assert head[1] == pytest.approx([20.0, -5.0, 12.5], abs=1e-4)
    assert [address for address, _ in units] == [f"/arkit/{name}" for name in model.expression_names]
    assert {address.removeprefix("/arkit/") for address, _ in units} <= set(ARKIT.values())
    np.testing.assert_allclose(np.concatenate([values for _, values in units]), unit_weights(model), atol=1e-6)
    assert max(receiver.sizes) <= DATAGRAM, "no datagram is split on its way"


def test_names_fit_into_an_address(receiver: Receiver) -> None:
    model = small_model(expression_names=("größer, [1/2]", "#smile*"))
    there = sent(receiver, model, "arkit", [face(model)], "/arkit/_smile_")
    assert there[2][0] == "/arkit/gr__er___1_2_"


# --- vmc -----------------------------------------------------------------------------------------------------------


def test_vmc_sends_what_the_protocol_asks_for(receiver: Receiver, model: MorphableModel) -> None:
    seen = face(model, expression=unit_weights(model))
    (ok, time, bone, *units, apply) = sent(receiver, model, "vmc", [seen], "/VMC/Ext/Blend/Apply")
    assert ok == ("/VMC/Ext/OK", [1, 3, 0, 1])
    assert time == ("/VMC/Ext/T", [0.0])
    assert bone == ("/VMC/Ext/Bone/Pos", ["Head", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    assert {address for address, _ in units} == {"/VMC/Ext/Blend/Val"}
    names = [values[0] for _, values in units]
    assert names[:1] == [model.expression_names[0][0].upper() + model.expression_names[0][1:]]
    assert [name.lower() for name in names] == [name.lower() for name in model.expression_names]
    assert all(name[0].isupper() for name in names)
    np.testing.assert_allclose([values[1] for _, values in units], unit_weights(model), atol=1e-6)
    assert apply[1] == []
    assert max(receiver.sizes) <= DATAGRAM


@pytest.mark.parametrize(
    ("angles", "ahead", "above"),
    [
        # Unity: x to the avatar's right, y up, z ahead; a yaw to image right is to the person's, and avatar's, left.
        ((30.0, 0.0, 0.0), (-0.5, 0.0, 0.75**0.5), (0.0, 1.0, 0.0)),
        ((0.0, 30.0, 0.0), (0.0, 0.5, 0.75**0.5), (0.0, 0.75**0.5, -0.5)),
        ((0.0, 0.0, 30.0), (0.0, 0.0, 1.0), (-0.5, 0.75**0.5, 0.0)),
        ((90.0, 0.0, 30.0), (-(0.75**0.5), -0.5, 0.0), (-0.5, 0.75**0.5, 0.0)),
    ],
)
def test_the_bone_turns_in_unitys_frame(
    receiver: Receiver, model: MorphableModel, angles: tuple[float, ...], ahead: Any, above: Any
) -> None:
    """Quaternions turn vectors by the same formula in either handedness."""
    there = sent(receiver, model, "vmc", [face(model, angles=angles)], "/VMC/Ext/Blend/Apply")
    name, *numbers = dict(there)["/VMC/Ext/Bone/Pos"]
    turn = Rotation.from_quat(numbers[3:])
    assert name == "Head"
    assert np.linalg.norm(numbers[3:]) == pytest.approx(1.0)
    np.testing.assert_allclose(turn.apply([0.0, 0.0, 1.0]), ahead, atol=1e-6)
    np.testing.assert_allclose(turn.apply([0.0, 1.0, 0.0]), above, atol=1e-6)


def test_time_counts_from_the_first_frame(receiver: Receiver, model: MorphableModel) -> None:
    sink = OscSink("127.0.0.1", receiver.port, "vmc", model, say=Said())
    for k in range(3):
        sink.write(frame(k, 100.0 + 0.25 * k), [face(model)], None)
    times = [dict(receiver.messages("/VMC/Ext/Blend/Apply"))["/VMC/Ext/T"] for _ in range(3)]
    sink.close()
    assert times == [[0.0], [0.25], [0.5]]


# --- Whom, and nobody ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "last", "expected"),
    [
        ("arkit", "/arkit/tracked", [("/arkit/tracked", [0])]),
        ("vmc", "/VMC/Ext/T", [("/VMC/Ext/OK", [1, 3, 0, 0]), ("/VMC/Ext/T", [0.0])]),
    ],
)
def test_no_face_is_said(
    receiver: Receiver, model: MorphableModel, protocol: str, last: str, expected: list[Message]
) -> None:
    assert sent(receiver, model, protocol, [], last) == expected
    lost = TrackedFace(0, FitResult(FitStatus.DIVERGED, "made for a test"), 0.0, {})
    receiver.messages(last)  # from the end of the first run
    assert sent(receiver, model, protocol, [lost], last) == expected


def test_the_end_is_said(receiver: Receiver, model: MorphableModel) -> None:
    sink = OscSink(None, receiver.port, "arkit", model, say=Said())
    sink.write(frame(0, 0.0), [face(model)], None)
    receiver.messages(f"/arkit/{model.expression_names[-1]}")
    sink.close()
    assert receiver.messages("/arkit/tracked") == [("/arkit/tracked", [0])]


def test_of_several_people_the_first_is_sent(receiver: Receiver, model: MorphableModel) -> None:
    people = [face(model, track=track, angles=(float(track), 0.0, 0.0)) for track in (8, 3, 5)]
    there = sent(receiver, model, "arkit", people, f"/arkit/{model.expression_names[-1]}")
    assert [address for address, _ in there].count("/arkit/head") == 1
    assert dict(there)["/arkit/head"][0] == pytest.approx(3.0, abs=1e-5)


def test_a_run_without_frames_sends_nothing(receiver: Receiver, model: MorphableModel) -> None:
    OscSink(None, receiver.port, "vmc", model, say=Said()).close()
    receiver.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.socket.recv(65536)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_absent_receiver_does_not_matter(receiver: Receiver, model: MorphableModel, protocol: str) -> None:
    """It is told once, and a receiver that comes later gets everything from then on."""
    port, said = receiver.port, Said()
    receiver.socket.close()
    sink = OscSink(None, port, protocol, model, say=said)
    for k in range(20):
        sink.write(frame(k, k / 30.0), [face(model)], None)
    if sys.platform == "linux":  # which reports a closed port
        assert said == [f"OSC to 127.0.0.1:{port}: nothing listens there yet; sending goes on"]
    late = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    late.bind(("127.0.0.1", port))
    late.settimeout(5.0)
    sink.write(frame(20, 20 / 30.0), [face(model)], None)
    assert late.recv(65536).startswith(b"#bundle\0")
    sink.close()
    late.close()
    assert len(said) <= 1


def test_a_network_that_is_down_does_not_matter(receiver: Receiver, model: MorphableModel) -> None:
    class Down:
        """A socket without a network."""

        def connect(self, address: object) -> None:
            raise OSError(101, "Network is unreachable")

        def close(self) -> None:
            pass

    said = Said()
    sink = OscSink(None, receiver.port, "vmc", model, say=said)
    sink._socket.close()
    sink._socket = Down()  # type: ignore[assignment]
    for k in range(3):
        sink.write(frame(k, k / 30.0), [face(model)], None)
    sink.close()
    assert said == [f"OSC to 127.0.0.1:{receiver.port}: Network is unreachable; sending goes on"]


def test_it_goes_nowhere_but_here_unless_told(receiver: Receiver, model: MorphableModel) -> None:
    sink = OscSink(None, receiver.port, "vmc", model)
    assert sink._receiver == ("127.0.0.1", receiver.port)
    sink.close()


def test_wrong_calls(model: MorphableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="protocol: expected arkit or vmc, got 'midi'"):
        OscSink(None, 39539, "midi", model)
    for port in (0, -1, 65536):
        with pytest.raises(InvalidInputError, match="port: expected a number from 1 to 65535"):
            OscSink(None, port, "vmc", model)
    for host in ("no-such-host.invalid", "a" * 100, "\0"):
        with pytest.raises(InvalidInputError, match="OSC: expected the name or address of a host"):
            OscSink(host, 39539, "vmc", model)

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(osc, "import_module", missing)
    with pytest.raises(MissingDependencyError, match=r"python-osc: pip install 'facefit\[live\]'"):
        OscSink(None, 39539, "vmc", model)
