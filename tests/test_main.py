"""The console program's frame: exit statuses and where messages go."""

import io
import sys

import pytest
import typer

from facefit.apps import main
from facefit.models.errors import InvalidInputError


def _exit_status(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> object:
    app = typer.Typer()

    @app.command()
    def fails() -> None:
        raise error

    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr(sys, "argv", ["facefit"])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    return stopped.value.code


def test_an_error_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_status(monkeypatch, InvalidInputError("expected (68, 2),\n  got (67, 2)")) == 2
    assert capsys.readouterr() == ("", "facefit: expected (68, 2), got (67, 2)\n")


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _exit_status(monkeypatch, KeyboardInterrupt()) == 130


@pytest.mark.parametrize("arguments", [["no-such-command"], ["fit", "--no-such-option"], ["fit"]])
def test_a_wrong_call_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["facefit", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_terminal_without_the_letters_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    app, terminal = typer.Typer(), io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    app.command()(lambda: print("née ☃"))
    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr(sys, "argv", ["facefit"])
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 0
    terminal.seek(0)
    assert terminal.read() == "n?e ?\n"


def test_help_names_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["facefit", "--help"])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 0
    assert {"fit", "evaluate", "model"} <= set(capsys.readouterr().out.split())
