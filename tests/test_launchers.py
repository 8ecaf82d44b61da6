"""The launchers' installation, with a Python whose venv and pip only pretend: quick, and without a network."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the launchers are POSIX sh")

FAKE_PYTHON = f"""#!/bin/sh
# `-I -c CODE` asks the real Python; `-m venv` makes a folder; pip and what is launched are written to $LOG.
case "$*" in
*"import ensurepip, venv"*) exit "${{NO_VENV:-0}}" ;;
*version_info*) exit "${{TOO_OLD:-0}}" ;;
*"import facefit"*) exit "${{NOT_INSTALLED:-1}}" ;;
"-I -c"*) exec '{sys.executable}' "$@" ;;
"-m venv"*)
    echo "venv" >>"$LOG"
    for folder; do :; done
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python"
    ;;
*"pip --version") ;;
*"pip "*)
    sleep "${{SLOW:-0}}"
    for last; do :; done
    echo "pip $last" >>"$LOG"
    exit "${{NO_NETWORK:-0}}"
    ;;
*) echo "run $*|$PWD|$FACEFIT_TEST_DATA" >>"$LOG" ;;
esac
"""

TOOLS = ("sh", "realpath", "dirname", "cksum", "cat", "mkdir", "cp", "sleep")


@dataclass
class Clone:
    """A copy of the launchers in a folder with a space, a PATH of fakes and a log of what they were asked."""

    root: Path
    path: Path
    log: Path

    def start(self, command: Path | str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name != "FACEFIT_TEST_DATA"}
        kept |= {"PATH": str(self.path), "LOG": str(self.log)} | environment
        (self.root.parent / "elsewhere").mkdir(exist_ok=True)
        return subprocess.Popen(
            [str(self.root / "bin" / command), *arguments],
            env=kept,
            cwd=self.root.parent / "elsewhere",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: Path | str, *arguments: str, **environment: str) -> tuple[int, str, list[str]]:
        """Return the exit status, what went to stderr, and the lines logged by this run."""
        self.log.write_text("")
        process = self.start(command, *arguments, **environment)
        output, errors = process.communicate(timeout=60)
        assert output == "", "stdout belongs to the command"
        return process.returncode, errors, self.log.read_text().splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    root = tmp_path / "a clone" / "facefit"
    shutil.copytree(ROOT / "bin", root / "bin")
    shutil.copy(ROOT / "setup.cfg", root)
    path = tmp_path / "tools"
    path.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (path / tool).symlink_to(found)
    fake = path / "python3"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    return Clone(root, path, tmp_path / "log")


INSTALLED = ["pip wheel", "pip ."]


def test_first_run_installs_and_later_ones_do_not(clone: Clone) -> None:
    elsewhere = clone.root.parent / "elsewhere"
    launched = f"run -P -m facefit.apps.main fit my photo.jpg -o out|{elsewhere}|"
    status, errors, log = clone.run("fit", "my photo.jpg", "-o", "out")
    assert (status, log) == (0, ["venv", *INSTALLED, launched])
    assert f"installing into {clone.root}/.venv" in errors
    assert clone.run("fit", "my photo.jpg", "-o", "out") == (0, "", [launched])


@pytest.mark.parametrize("command", ["evaluate", "label", "model", "webcam"])
def test_every_launcher_runs_its_own_command(clone: Clone, command: str) -> None:
    assert clone.run(command, "--help")[2][-1].startswith(f"run -P -m facefit.apps.main {command} --help|")


def test_changed_dependencies_are_installed_into_what_is_there(clone: Clone) -> None:
    clone.run("fit")
    with (clone.root / "setup.cfg").open("a") as file:
        file.write("# changed\n")
    assert clone.run("fit")[2][:-1] == INSTALLED


def test_moved_folder_is_installed_again(clone: Clone) -> None:
    clone.run("fit")
    moved = clone.root.parent / "moved"
    clone.root.rename(moved)
    assert Clone(moved, clone.path, clone.log).run("fit")[2][:-1] == INSTALLED


def test_failed_installation_is_a_sentence_and_is_finished_later(clone: Clone) -> None:
    status, errors, log = clone.run("fit", NO_NETWORK="1")
    assert (status, log) == (1, ["venv", "pip wheel"])
    assert errors.splitlines()[-1].startswith("facefit: the installation failed")
    assert clone.run("fit")[2][:-1] == INSTALLED


def test_interrupted_installation_is_not_taken_for_good(clone: Clone) -> None:
    process = clone.start("fit", SLOW="2")
    while process.poll() is None and not (clone.root / ".venv/bin/python").exists():
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted" in errors
    assert clone.run("fit")[2][:-1] == INSTALLED


def test_two_at_once_install_once(clone: Clone) -> None:
    both = [clone.start("fit", name, SLOW="0.2") for name in ("a.jpg", "b.jpg")]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    log = clone.log.read_text().splitlines()
    assert log[:3] == ["venv", *INSTALLED]
    assert len(log) == 5
    assert sum("installing into" in text for text in errors) == 1


def test_tests_are_installed_once_and_cover_the_rest(clone: Clone) -> None:
    data = clone.root.parent / "shared" / "data"
    data.mkdir(parents=True)
    launched = f"run -P -m pytest -k camera|{clone.root}|{data}"
    clone.run("fit")
    assert clone.run("test", "-k", "camera")[2] == ["pip wheel", "pip .[test]", launched]
    assert clone.run("test", "-k", "camera") == (0, "", [launched])
    assert len(clone.run("fit")[2]) == 1
    assert clone.run("test", FACEFIT_TEST_DATA="")[2] == [f"run -P -m pytest|{clone.root}|"]


def test_an_installed_facefit_is_used(clone: Clone) -> None:
    status, errors, log = clone.run("fit", NOT_INSTALLED="0")
    assert (status, errors, len(log)) == (0, "", 1)
    assert not (clone.root / ".venv").exists()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [({"TOO_OLD": "1"}, "Python 3.11 or newer is needed"), ({"NO_VENV": "1"}, "python3 lacks its venv module")],
)
def test_unfit_python_is_one_sentence(clone: Clone, environment: dict[str, str], sentence: str) -> None:
    status, errors, log = clone.run("fit", **environment)
    assert (status, log) == (1, [])
    assert errors.startswith(f"facefit: {sentence}")
    assert errors.count("\n") == 1


def test_a_later_python_serves_where_the_first_lacks_venv(clone: Clone) -> None:
    (clone.path / "python3.12").write_text(FAKE_PYTHON.replace("${NO_VENV:-0}", "1"))
    (clone.path / "python3.12").chmod(0o755)
    assert clone.run("fit")[2][:-1] == ["venv", *INSTALLED]


def test_a_link_to_a_launcher_finds_its_project(clone: Clone) -> None:
    link = clone.root.parent / "fit face"
    link.symlink_to(clone.root / "bin" / "fit")
    assert clone.run(link)[0] == 0
    assert (clone.root / ".venv/bin/python").exists()
