"""The console program `facefit`: one sub-command per job, and the one place that turns errors into exit statuses.

    0  every face asked for has a usable fit
    2  the call was wrong: an unknown option, a missing file, a model that cannot be read; one line says what
    3  at least one image gave no usable fit (the others are written)
    130  interrupted

Only what parses the command line is imported here; a command imports what it computes with when it runs, so that
`facefit --help` answers at once.
"""

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from ..models.errors import FacefitError
from .evaluate.command import app as evaluate_app
from .fit.command import fit
from .label.command import label
from .model.command import app as model_app
from .webcam.command import KEYS_HELP, webcam

app = typer.Typer(
    name="facefit",
    help="Fit a 3D morphable face model to one ordinary photo.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("fit")(fit)
app.command("label")(label)
app.command("webcam", epilog=KEYS_HELP)(webcam)
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(model_app, name="model")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facefit {version('facefit')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold the options that stand before the sub-command."""


def main() -> None:
    """Run the command line and exit with its status; errors that facefit raises on purpose become one line."""
    for stream in (sys.stdout, sys.stderr):  # a terminal without the letters of a file's name is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="facefit")
    except FacefitError as error:
        print(f"facefit: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
