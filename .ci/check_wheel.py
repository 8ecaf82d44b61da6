"""Fail unless a wheel holds every source and data file of the packages that setup.cfg lists, and nothing else."""

import sys
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent


def expected() -> set[str]:
    """Return the paths inside the wheel that the tree calls for: layer X becomes facefit/X, api/ becomes facefit/."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    paths = set()
    for layer in ("api", "models", "render", "fitting", "apps"):
        inside = Path("facefit") if layer == "api" else Path("facefit", layer)
        paths |= {(inside / path.relative_to(ROOT / layer)).as_posix() for path in (ROOT / layer).rglob("*.py")}
    for package, globs in config["options.package_data"].items():
        inside = Path(*package.split("."))
        folder = ROOT.joinpath(*(inside.parts[1:] or ("api",)))
        paths |= {
            (inside / path.relative_to(folder)).as_posix() for glob in globs.split() for path in folder.glob(glob)
        }
    return paths


with ZipFile(sys.argv[1]) as wheel:
    inside = {name for name in wheel.namelist() if not name.endswith("/")}
metadata = {name for name in inside if name.split("/")[0].endswith(".dist-info")}
licences = {name.rsplit("/", 1)[1] for name in metadata}
wrong = [f"missing: {name}" for name in sorted(expected() - inside)]
wrong += [f"too much: {name}" for name in sorted(inside - metadata - expected())]
wrong += [f"missing: {name}" for name in ("LICENSE", "NOTICE") if name not in licences]
if wrong:
    sys.exit("\n".join(wrong))
print(f"the wheel holds the {len(inside - metadata)} files of the tree, and nothing else")
