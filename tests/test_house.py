"""The rules of the house that no linter knows: packaging, imports, kernels, the front door, the launchers' form."""

import ast
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import facefit

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("models", "render", "fitting", "apps")
HEAVY = {
    "dlib", "OpenGL", "glfw", "onnxruntime", "h5py", "scipy.io", "pillow_heif", "trimesh", "matplotlib", "torch",
    "pygltflib", "xatlas", "av", "pyarrow", "pythonosc", "sklearn",
}  # fmt: skip


def _python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


HOUSE = _python_files("api", *LAYERS)
EVERYTHING = HOUSE + _python_files("tests", "benchmarks")


def _label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _is_kernels(path: Path) -> bool:
    return path.stem.endswith("_kernels")


def _imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Every name that the nodes import, dotted; relative ones begin with a dot."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)


def _walk_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: not the bodies of functions or of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from (inner for decorator in getattr(child, "decorator_list", []) for inner in ast.walk(decorator))
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        else:
            yield child
            yield from _walk_at_import(child)


def _under(name: str, roots: set[str]) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


# --- Packaging ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def setup_cfg() -> ConfigParser:
    parser = ConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]


def _package_folders(setup_cfg: ConfigParser) -> dict[str, Path]:
    """Folder of each listed package, through `package_dir`."""
    roots = dict(line.split(" = ") for line in _lines(setup_cfg["options"]["package_dir"]))
    folders = {}
    for package in _lines(setup_cfg["options"]["packages"]):
        layer = ".".join(package.split(".")[:2])
        folders[package] = ROOT / roots[layer] / Path(*package.split(".")[2:])
    return folders


def test_package_list_is_the_tree(setup_cfg: ConfigParser) -> None:
    in_tree = {"facefit"} | {
        ".".join(["facefit", *path.parent.relative_to(ROOT).parts])
        for layer in LAYERS
        for path in (ROOT / layer).rglob("__init__.py")
    }
    assert set(_package_folders(setup_cfg)) == in_tree


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in HOUSE}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
    assert [path.name for path in (ROOT / "api").glob("*.py")] == ["__init__.py"], "api/ is the front door only"


def _package_data(setup_cfg: ConfigParser) -> set[tuple[str, str]]:
    return {(package, glob) for package, globs in setup_cfg["options.package_data"].items() for glob in _lines(globs)}


def test_package_data_patterns_match_files(setup_cfg: ConfigParser) -> None:
    folders = _package_folders(setup_cfg)
    empty = [(package, glob) for package, glob in _package_data(setup_cfg) if not any(folders[package].glob(glob))]
    assert empty == []


def test_all_data_ships(setup_cfg: ConfigParser) -> None:
    folders = _package_folders(setup_cfg)
    shipped = {path for package, glob in _package_data(setup_cfg) for path in folders[package].glob(glob)}
    there = {path for data in ("models/default", "render/shaders") for path in (ROOT / data).rglob("*")}
    assert {path for path in there if path.is_file() and path.name[0] != "."} <= shipped


@pytest.mark.parametrize("dropped_in", ["basel.npz", "model2019_bfm.h5", "generic_model.pkl", "licensed/flame.npz"])
def test_model_files_dropped_into_models_do_not_ship(setup_cfg: ConfigParser, dropped_in: str) -> None:
    globs = [glob for package, glob in _package_data(setup_cfg) if package == "facefit.models"]
    assert [glob for glob in globs if fnmatchcase(dropped_in, glob)] == []


def test_console_script_resolves(setup_cfg: ConfigParser) -> None:
    name, target = setup_cfg["options.entry_points"]["console_scripts"].strip().split(" = ")
    module, function = target.split(":")
    assert name == "facefit"
    assert callable(getattr(import_module(module), function))


def test_layer_contract_names_every_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert layers == [f"facefit.{layer}" for layer in reversed(LAYERS)]


# --- Imports and state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERYTHING, ids=_label)
def test_no_folder_is_imported_by_its_own_name(path: Path) -> None:
    """`import models` works by accident, from the project's folder only, and makes a second copy of the module."""
    imported = set(_imported(ast.walk(_tree(path))))
    assert [name for name in imported if _under(name, {"api", "bin", "tests", *LAYERS})] == []


@pytest.mark.parametrize("path", HOUSE, ids=_label)
def test_imports_inside_the_house_are_relative(path: Path) -> None:
    assert [name for name in _imported(ast.walk(_tree(path))) if _under(name, {"facefit"})] == []


@pytest.mark.parametrize("path", HOUSE, ids=_label)
def test_heavy_libraries_are_imported_lazily(path: Path) -> None:
    assert [name for name in _imported(_walk_at_import(_tree(path))) if _under(name, HEAVY)] == []


@pytest.mark.parametrize("path", EVERYTHING, ids=_label)
def test_no_file_edits_the_import_path(path: Path) -> None:
    assert not [
        node for node in ast.walk(_tree(path)) if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
    ]


@pytest.mark.parametrize("path", HOUSE, ids=_label)
def test_no_global_state_and_no_working_directory(path: Path) -> None:
    forbidden = {"os.chdir", "os.getcwd", "Path.cwd", "pathlib.Path.cwd"}
    for node in ast.walk(_tree(path)):
        assert not isinstance(node, ast.Global), f"line {node.lineno}: a global statement"
        assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in forbidden), f"line {node.lineno}"


@pytest.mark.parametrize("path", HOUSE, ids=_label)
def test_functions_fit_a_screen(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1
            assert lines <= 60, f"{node.name} has {lines} lines"


# --- Kernels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in HOUSE if _is_kernels(path)], ids=_label)
def test_kernels_import_only_kernels(path: Path) -> None:
    for name in _imported(ast.walk(_tree(path))):
        kernel = name.startswith(".") and any(part.endswith("_kernels") for part in name.split("."))
        assert kernel or _under(name, {"numpy", "numba", "math"}), name


@pytest.mark.parametrize("path", [path for path in HOUSE if not _is_kernels(path)], ids=_label)
def test_numba_compiles_only_kernels(path: Path) -> None:
    tree = _tree(path)
    assert [name for name in _imported(_walk_at_import(tree)) if _under(name, {"numba"})] == []
    compilers = {"jit", "njit", "vectorize", "guvectorize", "stencil", "cfunc"}
    names = {node.id if isinstance(node, ast.Name) else getattr(node, "attr", "") for node in ast.walk(tree)}
    assert names & compilers == set()


# --- The front door ----------------------------------------------------------------------------------------------


def _run_python(code: str, **environment: str) -> str:
    """Run `code` in a fresh interpreter whose environment chooses no cache folder unless told; return its output."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    command = [sys.executable, "-P", "-W", "error", "-c", code]
    done = subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["facefit", "facefit.apps.main"])
def test_importing_computes_nothing(module: str) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = set(_run_python(code).split())
    assert loaded.isdisjoint({"numpy", "numba", "scipy", "cv2", "dlib", "PIL"})


@pytest.mark.parametrize("name", facefit.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(facefit, name) is not None
    assert name in dir(facefit)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        _ = facefit.fti  # type: ignore[attr-defined]


def test_front_door_tells_type_checkers_the_same_homes() -> None:
    block = next(node for node in _tree(ROOT / "api/__init__.py").body if isinstance(node, ast.If))
    imports = [(node.module, alias) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    told = {alias.asname or alias.name: module for module, alias in imports}
    assert told.pop("render") == "render.result_picture", "the package render, called, is draw_result"
    assert told == facefit._HOMES
    assert facefit.__all__ == sorted(["__version__", "render", *facefit._HOMES])


def test_version_is_the_one_of_setup_cfg(setup_cfg: ConfigParser) -> None:
    assert facefit.__version__ == setup_cfg["metadata"]["version"]


# --- Numba's cache folder ----------------------------------------------------------------------------------------

PRINT_CACHE = "import facefit.render._kernels, numba; print(numba.config.CACHE_DIR)"
only_posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes of POSIX")


@only_posix
def test_cache_folder_is_private_and_known_to_numba(tmp_path: Path) -> None:
    folder = Path(_run_python(PRINT_CACHE, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache")))
    assert tmp_path in folder.parents
    assert folder.name == f"numba-{facefit._kernels_digest()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_cache_folder_of_the_user_stands(tmp_path: Path) -> None:
    assert _run_python(PRINT_CACHE, NUMBA_CACHE_DIR=str(tmp_path)) == str(tmp_path)


@only_posix
@pytest.mark.parametrize("spoiled", ["no folder can be made", "a link stands in its place"])
def test_cache_falls_back_to_a_temporary_folder(tmp_path: Path, spoiled: str) -> None:
    home = tmp_path / "cache"
    if spoiled.startswith("no folder"):
        home.write_text("a file")
    else:
        (home / "facefit").mkdir(parents=True)
        (home / "facefit" / f"numba-{facefit._kernels_digest()}").symlink_to(tmp_path)
    folder = Path(_run_python(PRINT_CACHE, HOME=str(home), XDG_CACHE_HOME=str(home), TMPDIR=str(tmp_path)))
    assert folder.parent == tmp_path
    assert folder.name.startswith("facefit-numba-")
    assert not folder.exists(), "removed at exit"


def test_cache_key_follows_every_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(facefit, "find_spec", lambda name: spec)
    digests = [facefit._kernels_digest()]
    for source in ("_kernels.py", "inner/_kernels.py", "inner/photometric_kernels.py"):
        for text in ("", "a = 1", "a = 2"):
            (tmp_path / source).write_text(text)
            digests.append(facefit._kernels_digest())
    assert len(set(digests)) == len(digests)
    (tmp_path / "other.py").write_text("a = 1")
    assert facefit._kernels_digest() == digests[-1]


# --- Launchers ---------------------------------------------------------------------------------------------------

LAUNCHERS = sorted(path for path in (ROOT / "bin").iterdir() if path.suffix != ".sh")


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs sh")
@pytest.mark.parametrize("path", [*LAUNCHERS, ROOT / "bin/setup.sh"], ids=_label)
def test_shell_parses(path: Path) -> None:
    subprocess.run(["sh", "-n", str(path)], check=True)


@pytest.mark.parametrize("path", LAUNCHERS, ids=_label)
def test_launcher_is_a_short_posix_script(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/bin/sh"
    assert len(lines) <= 15
    assert os.access(path, os.X_OK)


def test_bin_is_no_package() -> None:
    assert [path.name for path in (ROOT / "bin").glob("*.py")] == []
