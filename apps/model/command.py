"""`facefit model`: which morphable models there are, how to get them, what they hold, and what they look like."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ...models.errors import InvalidInputError

app = typer.Typer(help="Look at, get and convert morphable models.", no_args_is_help=True, add_completion=False)

Model = Annotated[str, typer.Argument(metavar="NAME|PATH", help="A model in the store, or its file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """The models that can be named: licence, size, where they are or how to get them; the detector's licence."""
    from ...fitting.dlib_detector import LICENCE_NOTE
    from ...models.catalogue import CATALOGUE
    from ...models.store import EMBEDDED, embedded_file, load_model, stored_models
    from .description import catalogue_row, list_text, stored_row, summary

    stored, known = stored_models(), {entry.name for entry in CATALOGUE}
    rows = [summary(load_model(name), str(embedded_file(name))) for name in EMBEDDED]
    rows += [catalogue_row(entry, stored.get(entry.name)) for entry in CATALOGUE]
    rows += [stored_row(name, path) for name, path in stored.items() if name not in known]
    typer.echo(json.dumps({"models": rows, "detector": LICENCE_NOTE}) if as_json else f"{list_text(rows)}\n")
    if not as_json:
        typer.echo(f"Finding landmarks: {LICENCE_NOTE}; landmarks of your own need no detector.")


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that `facefit model list` names.")],
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the model's licence without being asked.")] = False,
) -> None:
    """Download a model into your own folder, after showing its licence and size; goes on where it was broken off."""
    from .getting import get_model

    typer.echo(get_model(name, agreed=yes))


@app.command()
def info(model: Model = "default", as_json: Json = False) -> None:
    """All about one model: licence, citation, hash, size, expression units and regions."""
    from ...models.store import EMBEDDED, embedded_file, find_model, load_model
    from .description import details, details_text

    face = load_model(model)
    place = str(embedded_file(model)) if model in EMBEDDED else str(find_model(model).absolute())
    row = details(face, place)
    typer.echo(json.dumps(row) if as_json else details_text(row))


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="A model in the store, or its file or folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.npz", help="The file to write, in facefit's own format.")],
    quantised: Annotated[
        bool, typer.Option("--quantised", help="Store the modes as 16-bit integers: half the size, a little loss.")
    ] = False,
) -> None:
    """Write a model of any format as facefit's own .npz file, which loads fastest; its licence goes with it."""
    if out.suffix.lower() != ".npz":
        raise InvalidInputError(f"{out}: expected the name of an .npz file to write, got another")
    from ...models.formats.npz import read_model, write_model
    from ...models.store import load_model
    from .checks import largest_difference

    model = load_model(source)
    write_model(out, model, quantised=quantised)
    loss = largest_difference(model, read_model(out))
    typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB); its modes differ by {loss:.2g} mm per unit at most")


@app.command()
def check(model: Annotated[str, typer.Argument(metavar="FILE", help="A model file or folder, or a name.")]) -> None:
    """Validate a model, measure its modes and tell which optional parts it has; exit status 2 where it is not valid."""
    from ...models.store import load_model
    from .checks import measures_text
    from .description import parts_text

    face = load_model(model)
    typer.echo(f"{model}: valid model {face.name!r} of {face.n_vertices} vertices\n{measures_text(face)}")
    typer.echo(parts_text(face))


@app.command()
def landmarks(
    model: Model = "default",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.json", help="Where to write what was found (else beside the model)."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the found points on the model's mean.")
    ] = None,
    people: Annotated[int, typer.Option(min=8, max=400, help="Random people to look at, each from seven sides.")] = 40,
) -> None:
    """Find a model's 68 landmarks by drawing it and running the detector, or check those that it has.

    What is found for a model without landmarks is written beside it and from then on loaded with it. A model that has
    landmarks is only compared, unless -o says where to write.
    """
    for file, suffix in ((out, ".json"), (picture, ".png")):
        if file is not None and file.suffix.lower() != suffix:
            raise InvalidInputError(f"{file}: expected the name of a {suffix} file to write, got another")
    from ...fitting.dlib_detector import DlibDetector
    from ...models.sidecar import sidecar_path, write_sidecar
    from ...models.store import find_model, load_model
    from ...render.renderer import make_renderer
    from ..fit.pngs import write_png
    from .landmarks import comparison_text, detected_landmarks, landmarks_picture

    face = load_model(model)
    maps = detected_landmarks(face, DlibDetector(allow_cnn=False), people)
    found = maps["landmarks_contour"]
    typer.echo(comparison_text(face, found))
    if picture is not None:
        write_png(picture, landmarks_picture(face, found, make_renderer()))
        typer.echo(f"wrote {picture}")
    if out is None and face.landmarks is None:
        out = sidecar_path(find_model(model))
    if out is not None:
        write_sidecar(out, face, **maps)
        typer.echo(f"wrote {out}")


@app.command()
def render(
    model: Model = "default",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.png", help="The picture to write (else people.png, modes.png, ...)."),
    ] = None,
    people: Annotated[
        int | None,
        typer.Option("--random", min=0, max=120, metavar="N", help="The mean and N random people; the default, of 7."),
    ] = None,
    modes: Annotated[bool, typer.Option("--modes", help="Identity modes (the first 10) at -3, 0 and +3 SD.")] = False,
    expressions: Annotated[
        bool,
        typer.Option("--expressions", help="Expression units at their upper bound, or at +2 SD where they have none."),
    ] = False,
    albedo: Annotated[bool, typer.Option("--albedo", help="Albedo modes at -2, 0 and +2 SD, from the front.")] = False,
    first: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many modes or units (else 10 of --modes, all others)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed draws the same people (else 0).")] = None,
) -> None:
    """Draw one sheet of a model: random people, its identity modes, its expressions, or its albedo modes."""
    asked = {"--random": people is not None, "--modes": modes, "--expressions": expressions, "--albedo": albedo}
    kind = _checked_kind([option for option, given in asked.items() if given], first, seed)
    out = Path(f"{kind}.png") if out is None else out
    if out.suffix.lower() != ".png":
        raise InvalidInputError(f"{out}: expected the name of a .png file to write, got another")

    from ...models.store import load_model
    from ...render.renderer import make_renderer
    from ..fit.pngs import write_png
    from . import sheets

    face = load_model(model)
    match kind:
        case "modes":
            sheet = sheets.identity_modes(face, first)
        case "expressions":
            sheet = sheets.expression_units(face, first)
        case "albedo":
            sheet = sheets.albedo_modes(face, first)
        case _:
            sheet = sheets.random_people(face, 7 if people is None else people, seed or 0)
    write_png(out, sheets.draw_sheet(sheet, face, make_renderer()))
    typer.echo(f"wrote {out}")


def _checked_kind(asked: list[str], first: int | None, seed: int | None) -> str:
    """Return what the sheet shows; InvalidInputError for options that do not go together."""
    if len(asked) > 1:
        raise InvalidInputError(f"expected one sheet per call, got {' and '.join(asked)}")
    option = asked[0] if asked else "--random"
    if option == "--random" and first is not None:
        raise InvalidInputError("--first: expected --modes, --expressions or --albedo beside it, got random people")
    if option != "--random" and seed is not None:
        raise InvalidInputError(f"--seed: expected random people, got {option}")
    return "people" if option == "--random" else option.removeprefix("--")
