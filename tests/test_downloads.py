"""Downloads from a server on this machine that breaks off, lies or refuses: a file is whole and right, or not there."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from facefit.apps.model import getting
from facefit.apps.model.command import app
from facefit.models.catalogue import Download, find_entry
from facefit.models.downloads import fetch
from facefit.models.errors import ModelError, OutputError

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; its attributes say how badly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.status = 200  # other statuses are sent without content
        self.ranges = True  # whether it serves a part on request
        self.breaks_after: int | None = None  # bytes of each answer, then the connection ends
        self.asked: list[str | None] = []  # the Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.npz"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be quiet about clients that leave."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        span = self.headers["Range"]
        self.server.asked.append(span)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(self.server.content) - 1}/{len(self.server.content)}"
            )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def pinned(server: Server, content: bytes = CONTENT) -> Download:
    return Download(server.url, len(content), hashlib.sha256(content).hexdigest(), ".npz")


def refusal(download: Download, target: Path, error: type[Exception] = ModelError) -> str:
    with pytest.raises(error) as refused:
        fetch(download, target)
    return str(refused.value)


def test_a_file_comes_whole(server: Server, tmp_path: Path) -> None:
    target, seen = tmp_path / "new" / "folder" / "model.npz", []
    fetch(pinned(server), target, seen.append)
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["model.npz"]
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == len(CONTENT)
    assert server.asked == [None]


def test_an_interrupted_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.breaks_after = 100_000
    for received in (100_000, 200_000):
        assert f"expected 300000 bytes, got {received} before the connection ended" in refusal(
            pinned(server), tmp_path / "model.npz"
        )
        assert (tmp_path / "model.npz.part").read_bytes() == CONTENT[:received]
        assert os.listdir(tmp_path) == ["model.npz.part"]
    seen: list[int] = []
    fetch(pinned(server), tmp_path / "model.npz", seen.append)
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]
    assert seen[0] == 200_000
    assert (tmp_path / "model.npz").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "model.npz.part").write_bytes(b"x" * 1000)
    fetch(pinned(server), tmp_path / "model.npz")
    assert server.asked == ["bytes=1000-"]
    assert (tmp_path / "model.npz").read_bytes() == CONTENT


def test_a_part_that_is_complete_needs_no_server(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.npz.part").write_bytes(CONTENT)
    fetch(pinned(server), tmp_path / "model.npz")
    assert server.asked == []
    assert (tmp_path / "model.npz").read_bytes() == CONTENT


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, 1.5])
def test_another_file_than_the_pinned_one_leaves_nothing(server: Server, tmp_path: Path, share: float) -> None:
    """Whether the server's file, the part that was there, or both are wrong; the next attempt starts afresh."""
    (tmp_path / "model.npz.part").write_bytes(bytes(int(share * len(CONTENT))))
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]) if share == 0.0 else CONTENT
    assert "nothing was kept" in refusal(pinned(server), tmp_path / "model.npz")
    assert os.listdir(tmp_path) == []
    server.content = CONTENT
    fetch(pinned(server), tmp_path / "model.npz")
    assert (tmp_path / "model.npz").read_bytes() == CONTENT


def test_a_server_that_sends_without_end_is_stopped(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT * 50
    seen: list[int] = []
    with pytest.raises(ModelError, match="nothing was kept"):
        fetch(pinned(server), tmp_path / "model.npz", seen.append)
    assert seen[-1] < len(CONTENT) + 100_000
    assert os.listdir(tmp_path) == []


def test_a_failed_download_leaves_the_old_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.npz").write_bytes(b"old")
    server.content = CONTENT[::-1]
    refusal(pinned(server), tmp_path / "model.npz")
    assert (tmp_path / "model.npz").read_bytes() == b"old"


@pytest.mark.parametrize("status", [403, 404, 416, 429, 500, 503])
def test_refusals_of_the_server_are_named(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    assert f"{server.url}: the server answered {status} (" in refusal(pinned(server), tmp_path / "model.npz")
    assert os.listdir(tmp_path) == []
    (tmp_path / "model.npz.part").write_bytes(CONTENT[:1000])
    refusal(pinned(server), tmp_path / "model.npz")
    assert (tmp_path / "model.npz.part").read_bytes() == CONTENT[:1000]  # a server that is down costs nothing


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "no-such-host.invalid"])
def test_no_network_is_named(tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as free:  # bound, not listening: nobody answers
        free.bind(("127.0.0.1", 0))
        url = f"http://{host.format(port=free.getsockname()[1])}/model.npz"
        assert refusal(Download(url, 10, "", ".npz"), tmp_path / "model.npz").startswith(f"{url}: no connection (")
    assert os.listdir(tmp_path) == []


def test_an_answer_that_is_no_http_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def babble() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"hello\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/model.npz"
        assert f"{url}: no " in refusal(Download(url, 10, "", ".npz"), tmp_path / "model.npz")
        thread.join()


def test_places_that_cannot_be_written_are_output_errors(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal(pinned(server), tmp_path / "file" / "model.npz", OutputError)
    (tmp_path / "model.npz").mkdir()
    assert "cannot be written" in refusal(pinned(server), tmp_path / "model.npz", OutputError)


def test_the_command_goes_on_where_it_was_broken_off(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = find_entry("gnm")
    assert entry is not None
    monkeypatch.setattr(getting, "find_entry", lambda _: replace(entry, download=pinned(server)))
    monkeypatch.setenv("FACEFIT_MODELS", str(tmp_path / "models"))
    server.breaks_after = 200_000
    broken = CliRunner().invoke(app, ["get", "gnm", "--yes"])
    assert "the same command goes on from there" in str(broken.exception)
    done = CliRunner().invoke(app, ["get", "gnm", "--yes"])
    assert done.exit_code == 0
    assert done.stdout.endswith(f"wrote {tmp_path / 'models' / 'gnm.npz'}\n")
    assert server.asked == [None, "bytes=200000-"]
    assert (tmp_path / "models" / "gnm.npz").read_bytes() == CONTENT
