"""The files of one fitted face: what each format is called, and who writes it.

    npz        fit.npz                                   everything: fitting/result_files.py
    obj        mesh.obj mesh.mtl texture.png             textured mesh, mm
    glb        mesh.glb                                  textured mesh with the model's expressions, metres
    glb-detail mesh-detail.glb                           textured mesh with the wrinkles in its vertices, metres
    html       viewer.html                               the same on a page that needs nothing else
    camera     camera.json                               the camera as OpenCV, OpenGL and others write it
    png        overlay.png                               the picture to judge the fit by
    ply        mesh.ply                                  mesh with colours, mm
    texture    texture/photographed.png albedo.png confidence.png
    detail     detail/displacement.png normals.png confidence.png
    maps       maps/depth.png normals.png pncc.png position_map.npy
    mat        parameters.mat                            of a model in the layout of 300W-LP
    sheet      sheet.png                                 turned, relit, with other expressions
    turntable  turntable.mp4                             the head turns, then the light
    relight    relit-NAME.png                            the photo with the face under another light
    expression expression.png                            the photo with another expression
    view       view.png                                  the head turned

The last three come where the call names a light, an expression or angles; glb-detail and detail, where the fit has
detail. Exporters stand in apps/export/.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...fitting.result_files import save
from ...fitting.results import FitResult
from ...fitting.texture import Texture
from ...fitting.texturing.options import TextureOptions
from ...models.errors import OutputError
from ...models.files import atomic_write
from ...models.morphable_model import MorphableModel, UVMap
from ..export.lights import LAMPS
from .pngs import write_png

Pixels = NDArray[np.uint8]

FILES: Mapping[str, tuple[str, ...]] = {
    "npz": ("fit.npz",),
    "obj": ("mesh.obj", "mesh.mtl", "texture.png"),
    "glb": ("mesh.glb",),
    "glb-detail": ("mesh-detail.glb",),
    "html": ("viewer.html",),
    "camera": ("camera.json",),
    "png": ("overlay.png",),
    "ply": ("mesh.ply",),
    "texture": ("texture/photographed.png", "texture/albedo.png", "texture/confidence.png"),
    "detail": ("detail/displacement.png", "detail/normals.png", "detail/confidence.png"),
    "maps": ("maps/depth.png", "maps/normals.png", "maps/pncc.png", "maps/position_map.npy"),
    "mat": ("parameters.mat",),
    "sheet": ("sheet.png",),
    "turntable": ("turntable.mp4",),
    "relight": tuple(f"relit-{name}.png" for name in LAMPS),
    "expression": ("expression.png",),
    "view": ("view.png",),
}
"""The files that each format may write."""

TEXTURED = frozenset(
    {"obj", "glb", "glb-detail", "html", "texture", "sheet", "turntable", "relight", "expression", "view"}
)
"""Formats that show the photo's texture."""

VIEW_SIDE = 1024  # px of view.png


@dataclass(frozen=True, eq=False)
class Look:
    """What the call chose of how faces are shown."""

    texture: TextureOptions | None = field(default_factory=TextureOptions)  # None: nothing shows the photo's colours
    delit: bool = False  # whether meshes carry the albedo instead of the colours as photographed
    lights: Sequence[str] = ()  # to show the face under, of LAMPS
    expression: Mapping[str, float] = field(default_factory=dict)  # to show the face with, weights by unit
    view: tuple[float, float] = (0.0, 0.0)  # yaw and pitch, degrees, to show the head at


@dataclass(frozen=True, eq=False)
class Face:
    """What the files of one face are made from."""

    photo: Pixels  # (H, W, 3)
    result: FitResult  # usable
    model: MorphableModel
    name: str  # for people: the photo's
    overlay: Pixels | None = None  # (H, W, 3)
    texture: Texture | None = None
    look: Look = field(default_factory=Look)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the photo, px."""
        return self.photo.shape[0], self.photo.shape[1]

    @property
    def mesh_texture(self) -> tuple[Pixels | None, UVMap | None]:
        """The texture that meshes carry, and its layout."""
        if self.texture is None:
            return None, None
        return self.texture.albedo if self.look.delit else self.texture.photographed, self.texture.uv

    @cached_property
    def glb(self) -> bytes:
        """The binary glTF, which is a file and a part of the viewer's page."""
        from ...fitting.detailing.relief import normal_map
        from ...render.tangents import same_layout
        from ..export.glb import glb_bytes

        texture, uv = self.mesh_texture
        detail, normals = self.result.detail, None
        if detail is not None:
            assert self.result.vertices is not None and self.result.triangles is not None
            uv = detail.uv if uv is None else uv
            # One set of coordinates serves both pictures: the texture's and the heights' atlas are the model's own.
            if same_layout(uv, detail.uv):
                normals = normal_map(detail, self.result.vertices, self.result.triangles)
        return glb_bytes(self.result, self.model, texture, uv, normals)


def write_exports(folder: Path, face: Face, formats: Sequence[str]) -> list[str]:
    """Write the files of `formats` into `folder`, each whole or not at all, and return their names relative to it.

    Raises OutputError where a file cannot be written, and InvalidInputError for a format that does not suit the model.
    """
    names: list[str] = []
    for name in FILES:
        if name in formats:
            names += [path.relative_to(folder).as_posix() for path in WRITERS[name](folder, face)]
    return list(dict.fromkeys(names))


def _npz(folder: Path, face: Face) -> Sequence[Path]:
    save(face.result, folder / "fit.npz")
    return (folder / "fit.npz",)


def _obj(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.obj import write_obj

    assert face.result.vertices is not None and face.result.triangles is not None
    texture, uv = face.mesh_texture
    comment = "fitted by facefit; mm, model frame"
    return write_obj(
        folder / "mesh.obj", face.result.vertices, face.result.triangles, comment, uv=uv, texture=texture
    )  # fmt: skip


def _glb(folder: Path, face: Face) -> Sequence[Path]:
    with atomic_write(folder / "mesh.glb") as file:
        file.write(face.glb)
    return (folder / "mesh.glb",)


def _glb_detail(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.glb import detail_glb_bytes

    if face.result.detail is None:
        return ()
    with atomic_write(folder / "mesh-detail.glb") as file:
        file.write(detail_glb_bytes(face.result, face.model, *face.mesh_texture))
    return (folder / "mesh-detail.glb",)


def _detail(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.relief_maps import write_relief_maps

    return () if face.result.detail is None else write_relief_maps(_made(folder / "detail"), face.result)


def _html(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.viewer import write_viewer

    write_viewer(folder / "viewer.html", face.glb, face.name)
    return (folder / "viewer.html",)


def _camera(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.camera_json import write_camera

    write_camera(folder / "camera.json", face.result, face.size)
    return (folder / "camera.json",)


def _png(folder: Path, face: Face) -> Sequence[Path]:
    return () if face.overlay is None else _pictures(folder, {"overlay.png": face.overlay})


def _ply(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.ply import write_ply

    assert face.result.vertices is not None and face.result.triangles is not None
    write_ply(folder / "mesh.ply", face.result.vertices, face.result.triangles, face.result.reflectance)
    return (folder / "mesh.ply",)


def _texture(folder: Path, face: Face) -> Sequence[Path]:
    if face.texture is None:
        return ()
    _made(folder / "texture")
    names = ("photographed", "albedo", "confidence")
    return _pictures(folder, {f"texture/{name}.png": getattr(face.texture, name) for name in names})


def _maps(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.maps import write_maps

    layout = face.model.uv if face.texture is None else face.texture.uv
    return write_maps(_made(folder / "maps"), face.result, face.model, face.size, layout)


def _mat(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.w300lp import write_300wlp

    write_300wlp(folder / "parameters.mat", face.result, face.model, face.size)
    return (folder / "parameters.mat",)


def _sheet(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.motion import contact_sheet

    return _pictures(folder, {"sheet.png": contact_sheet(face.result, face.model, face.photo, texture=face.texture)})


def _turntable(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.motion import turntable, write_turntable

    write_turntable(folder / "turntable.mp4", turntable(face.result, face.model, texture=face.texture))
    return (folder / "turntable.mp4",)


def _relight(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.motion import relit

    return _pictures(
        folder,
        {
            f"relit-{n}.png": relit(face.result, face.model, face.photo, n, texture=face.texture)
            for n in face.look.lights
        },
    )


def _expression(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.expressions import with_expression
    from ..export.motion import own_light, rerendered

    if not face.look.expression:
        return ()
    posed = with_expression(face.result, face.model, face.look.expression)
    picture = rerendered(posed, face.model, face.photo, lighting=own_light(face.result), texture=face.texture)
    return _pictures(folder, {"expression.png": picture})


def _view(folder: Path, face: Face) -> Sequence[Path]:
    from ..export.motion import novel_view, own_light

    light = own_light(face.result)
    picture = novel_view(face.result, face.model, *face.look.view, lighting=light, texture=face.texture, side=VIEW_SIDE)
    return _pictures(folder, {"view.png": picture})


def _pictures(folder: Path, pictures: Mapping[str, Pixels]) -> list[Path]:
    for name, picture in pictures.items():
        write_png(folder / name, picture)
    return [folder / name for name in pictures]


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{folder}: cannot be made ({problem.strerror or problem})") from None
    return folder


WRITERS: Mapping[str, Callable[[Path, Face], Sequence[Path]]] = {
    "npz": _npz,
    "obj": _obj,
    "glb": _glb,
    "glb-detail": _glb_detail,
    "html": _html,
    "camera": _camera,
    "png": _png,
    "ply": _ply,
    "texture": _texture,
    "detail": _detail,
    "maps": _maps,
    "mat": _mat,
    "sheet": _sheet,
    "turntable": _turntable,
    "relight": _relight,
    "expression": _expression,
    "view": _view,
}
