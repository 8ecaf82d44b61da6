"""`facefit model`: which morphable models there are, what they hold, and what their people look like."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ...models.errors import InvalidInputError

app = typer.Typer(help="Look at morphable models.", no_args_is_help=True, add_completion=False)

Model = Annotated[str, typer.Argument(metavar="NAME|PATH", help="A model in the store, or its file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """The models that can be named, their licences, and that of the landmark detector."""
    from ...fitting.dlib_detector import LICENCE_NOTE
    from ...models.store import EMBEDDED, embedded_file, load_model
    from .description import list_text, summary

    rows = [summary(load_model(name), str(embedded_file(name))) for name in EMBEDDED]
    typer.echo(json.dumps({"models": rows, "detector": LICENCE_NOTE}) if as_json else f"{list_text(rows)}\n")
    if not as_json:
        typer.echo(f"Finding landmarks: {LICENCE_NOTE}; landmarks of your own need no detector.")


@app.command()
def info(model: Model = "default", as_json: Json = False) -> None:
    """All about one model: licence, citation, hash, size, expression units and regions."""
    from ...models.store import EMBEDDED, embedded_file, load_model
    from .description import details, details_text

    place = str(embedded_file(model)) if model in EMBEDDED else str(Path(model).absolute())
    row = details(load_model(model), place)
    typer.echo(json.dumps(row) if as_json else details_text(row))


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file.")]) -> None:
    """Validate a model file and tell which optional parts it has; exit status 2 where it is not valid."""
    from ...models.formats.npz import read_model
    from .description import parts_text

    model = read_model(file)
    typer.echo(f"{file}: valid model {model.name!r} of {model.n_vertices} vertices\n{parts_text(model)}")


@app.command()
def render(
    model: Model = "default",
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE.png", help="The picture to write.")] = Path(
        "people.png"
    ),
    count: Annotated[int, typer.Option("--random", min=0, max=99, metavar="N", help="How many people to draw.")] = 7,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same people.")] = 0,
) -> None:
    """Draw a model's mean and random people, each from the front and turned."""
    if out.suffix.lower() != ".png":
        raise InvalidInputError(f"{out}: expected the name of a .png file to write, got another")

    from ...models.store import load_model
    from ...render.renderer import make_renderer
    from ..fit.writers import write_png
    from .people import draw_people

    write_png(out, draw_people(load_model(model), make_renderer(), count=count, seed=seed))
    typer.echo(f"wrote {out}")
