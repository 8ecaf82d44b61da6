"""The annotated picture: where the mesh lies, what the views show, faces partly or wholly outside; text and bars."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from small_model import small_model
from webcam_stubs import HEIGHT, WIDTH, frame, tracked_face

from facefit.apps.webcam import _kernels
from facefit.apps.webcam.avatar import Avatar, head_camera
from facefit.apps.webcam.drawing import Painter, Surface
from facefit.apps.webcam.hud import Figures, Strongest, angles_line, draw_bars
from facefit.apps.webcam.lettering import Lettering, darken
from facefit.apps.webcam.pipeline import Tracked
from facefit.apps.webcam.views import View
from facefit.models.errors import InvalidInputError, ModelError
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.rasterizer import rasterize

MODEL = small_model(regions={})
SIDE = 200  # px


def _face(track: int = 0, *, centre: tuple[float, float] = (100.0, 100.0), scale: float = 0.6, **fit: Any) -> Any:
    camera = ScaledOrthographic(rotation_from_angles(10.0, 5.0, -5.0), np.array(centre), scale)
    found = tracked_face(MODEL, 0.0, track=track, **fit)
    return dataclasses.replace(found, result=dataclasses.replace(found.result, camera=camera, landmarks=None, box=None))


def _drawn(view: View, face: Any) -> np.ndarray:
    canvas = np.full((SIDE, SIDE, 3), 90, np.uint8)
    surface = Surface(MODEL)
    surface.remember([face])
    surface.draw(canvas, face, view)
    return canvas


@pytest.mark.parametrize("view", list(View))
def test_only_what_the_mesh_covers_changes(view: View) -> None:
    face = _face()
    canvas = _drawn(view, face)
    seen = rasterize(face.result.camera, face.result.vertices, MODEL.triangles, SIDE, SIDE).covered
    changed = (canvas != 90).any(axis=2)
    assert changed.any() and not (changed & ~seen).any()
    if view is not View.WIRE:
        assert (changed & seen).sum() > 0.98 * seen.sum()


def test_a_wire_lies_on_the_edges_and_nowhere_else() -> None:
    """Against the definition: a pixel's distance, in px, from the nearest edge of the triangle that it shows."""
    face = _face(scale=1.1)
    canvas, camera = _drawn(View.WIRE, face), face.result.camera
    fragments = rasterize(camera, face.result.vertices, MODEL.triangles, SIDE, SIDE)
    points = camera.project(face.result.vertices)[:, :2]
    y, x = np.nonzero(fragments.covered)
    corners = points[MODEL.triangles[fragments.triangle[y, x]]]
    distance = np.full(len(x), np.inf)
    for k in range(3):
        start, end = corners[:, k], corners[:, (k + 1) % 3]
        along = end - start
        to_pixel = np.stack([x, y], axis=1) - start
        cross = along[:, 0] * to_pixel[:, 1] - along[:, 1] * to_pixel[:, 0]
        distance = np.minimum(distance, np.abs(cross) / np.hypot(*along.T))
    changed = (canvas[y, x] != 90).any(axis=1)
    assert changed[distance < 0.6].all()
    assert not changed[distance > 1.0].any()


def test_textured_shows_the_reflectance_of_the_fit_that_began_the_track_in_the_light_of_now() -> None:
    red = np.tile([0.5, 0.02, 0.02], (MODEL.n_vertices, 1))
    white = np.zeros((9, 3))
    white[0] = np.sqrt(4.0 * np.pi)  # radiance is the reflectance
    surface, first = Surface(MODEL), _face(7, reflectance=red, lighting=white)
    later, other = _face(7, lighting=white), _face(8, lighting=white)
    surface.remember([first, other])
    surface.remember([later, other])
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    surface.draw(canvas, later, View.TEXTURED)
    middle = canvas[100, 100].astype(int)
    assert abs(middle - [188, 39, 39]).max() <= 1, "0.5 and 0.02 in sRGB"
    assert np.array_equal(surface.albedo(other), MODEL.albedo_mean)
    surface.remember([other])
    assert not np.array_equal(surface.albedo(later), red), "who is gone is forgotten"


@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize(
    ("centre", "scale"),
    [((0.0, 0.0), 0.6), ((199.0, 100.0), 0.6), ((-500.0, 100.0), 0.6), ((100.0, 1e7), 0.6), ((100.0, 100.0), 1e-6),
     ((100.0, 100.0), 40.0)],
)  # fmt: skip
def test_faces_at_the_border_outside_tiny_and_huge(view: View, centre: tuple[float, float], scale: float) -> None:
    assert _drawn(view, _face(centre=centre, scale=scale)).shape == (SIDE, SIDE, 3)


def test_a_result_without_a_mesh_draws_nothing() -> None:
    face = _face()
    empty = dataclasses.replace(face, result=dataclasses.replace(face.result, vertices=None))
    assert (_drawn(View.SHADED, empty) == 90).all()


@pytest.mark.parametrize("view", [View.SHADED, View.TEXTURED])
def test_only_the_face_region_of_a_model_is_drawn_and_the_rest_hides_it(view: View) -> None:
    model = small_model()
    surface, face = Surface(model), tracked_face(model, 0.0)
    assert 0 < surface.chosen.sum() < len(model.triangles)
    assert model.regions["face"][model.triangles[surface.chosen]].all()
    canvas = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    surface.draw(canvas, face, view)
    nearest = rasterize(face.result.camera, face.result.vertices, model.triangles, HEIGHT, WIDTH).triangle
    changed, expected = (canvas != 90).any(axis=2), (nearest >= 0) & surface.chosen[nearest]
    assert expected.any() and not (changed & ~expected).any()
    assert (changed & expected).sum() > 0.98 * expected.sum()


@pytest.mark.kernels
def test_a_pixel_is_blended_by_what_it_shows() -> None:
    triangles, chosen = np.array([[0, 1, 2], [0, 2, 1]], np.int32), np.array([True, False])
    shown = np.array([[0, 0, 1, -1]], np.int32)
    barycentric = np.array([[[1 / 3, 1 / 3, 1 / 3], [0.0, 0.5, 0.5], [0.2, 0.3, 0.5], [0.0, 0.0, 0.0]]])
    points = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 40.0]])
    colours = np.array([[0.0, 90.0, 255.0], [30.0, 90.0, 255.0], [60.0, 90.0, 255.0]])
    picture = np.full((1, 4, 3), 100, np.uint8)
    _kernels.blend_colours(picture, (shown, barycentric), triangles, chosen, colours, 0.5)
    np.testing.assert_array_equal(picture[0], [[65, 95, 178], [72, 95, 178], [100] * 3, [100] * 3])
    picture[:] = 100
    _kernels.blend_wire(picture, (shown, barycentric), triangles, chosen, points, 0.5, 0.5, np.zeros(3))
    np.testing.assert_array_equal(picture[0, :, 0], [100, 50, 100, 100])  # the incentre is far from all edges


def test_a_model_whose_regions_name_no_face_is_drawn_whole() -> None:
    model = small_model()
    for regions in ({}, {"eyes": model.regions["face"]}, {"face": np.zeros(model.n_vertices, bool)}):
        assert Surface(dataclasses.replace(model, regions=regions)).chosen.all()


@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize("size", [(480, 640), (20, 30), (1, 1), (90, 2000)])
def test_a_picture_of_any_size_and_any_number_of_faces(view: View, size: tuple[int, int]) -> None:
    painter = Painter(MODEL, view)
    shot = frame(0, *size)
    before = shot.pixels.copy()
    for count in (0, 1, 3):
        faces = [tracked_face(MODEL, 0.0, track=k) for k in range(count)]
        drawn = painter.picture(
            Tracked(shot, faces, 0.01), Figures(60.0, 0.02, {"solve": 0.004}), ("no face for 11 s",)
        )
        assert drawn.shape == (*size, 3) and drawn.dtype == np.uint8
    np.testing.assert_array_equal(shot.pixels, before, "the frame itself is left as it is")


def test_box_and_landmarks_are_where_they_were_found() -> None:
    painter = Painter(MODEL, View.SHADED)
    face = tracked_face(MODEL, 0.0)
    bare = dataclasses.replace(face.result, vertices=None, box=np.array([10.0, 5.0, 50.0, 40.0]))
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    painter.mark(canvas, dataclasses.replace(face, result=dataclasses.replace(bare, landmarks=None)))
    assert canvas[5, 10:51].any(axis=1).all() and canvas[5:41, 50].any(axis=1).all() and not canvas[:5].any()
    canvas[:] = 0
    painter.mark(canvas, dataclasses.replace(face, result=dataclasses.replace(bare, box=None)))
    for x, y in np.rint(face.result.landmarks).astype(int):
        assert canvas[y, x].any()


# --- Text and bars -----------------------------------------------------------------------------------------------


def test_text_is_cut_at_the_border_and_lies_where_it_should() -> None:
    letters = Lettering()
    canvas = np.zeros((40, 60, 3), np.uint8)
    letters.write(canvas, "yaw +12°", 5, 3)
    rows, columns = np.nonzero(canvas.any(axis=2))
    assert rows.min() >= 3 and rows.max() < 3 + letters.line and columns.min() >= 5
    alone = canvas.copy()
    for left, top in ((-20, -5), (55, 35), (-500, 3), (3, 500)):
        letters.write(canvas, "yaw +12°", left, top)
    assert canvas.shape == alone.shape
    far = np.zeros((40, 60, 3), np.uint8)
    letters.write(far, "yaw +12°", -20, 3)
    np.testing.assert_array_equal(far[:, :35], alone[:, 25:])
    assert letters.width("long text") > letters.width("i") > 0


def test_darkening_outside_does_nothing() -> None:
    canvas = np.full((10, 10, 3), 100, np.uint8)
    darken(canvas, 20, 0, 5, 5)
    darken(canvas, 0, -9, 5, 5)
    assert (canvas == 100).all()
    darken(canvas, -2, -2, 4, 4, 0.5)
    assert (canvas[:2, :2] == 50).all() and (canvas[2:] == 100).all() and (canvas[:, 2:] == 100).all()


def test_a_bar_is_as_long_as_its_weight() -> None:
    letters = Lettering()
    canvas = np.zeros((60, 120, 3), np.uint8)
    draw_bars(canvas, letters, [("a", 0.25), ("b", 3.0)], 10, 0, 100)
    full = canvas[letters.line, 10:110]
    assert (full == full[0]).all(axis=1).sum() == 25, "a quarter"
    second = canvas[2 * letters.line + 3 + 2, 10:110]
    assert (second == second[0]).all(), "no longer than all"


def test_the_strongest_units_come_first_and_do_not_flicker() -> None:
    strongest = Strongest(["a", "b", "c"])
    assert [name for name, _ in strongest.of([0.1, 0.8, 0.4])] == ["b", "c", "a"]
    assert strongest.of([0.1, 0.0, 0.42])[0] == ("b", 0.0), "it was strong a moment ago"
    for _ in range(60):
        order = strongest.of([0.1, 0.0, 0.4])
    assert [name for name, _ in order] == ["c", "a", "b"]


def test_figures_and_angles_as_text() -> None:
    lines = Figures(59.6, 0.0214, {"track": 0.012, "solve": 0.0042}, 3).lines()
    assert lines == ["60 fps, latency 21 ms, 3 dropped", "track 12.0, solve 4.2 ms"]
    assert angles_line(tracked_face(MODEL, 0.0, yaw=31.0)) == "yaw +31°  pitch +0°  roll +0°"


# --- The avatar --------------------------------------------------------------------------------------------------


def _other(model: Any = MODEL, **changes: Any) -> Any:
    rng = np.random.default_rng(1)
    identity, expression = rng.standard_normal(model.n_identity), np.array([0.5, -1.0])
    fit = tracked_face(model, 0.0).result
    offset = 0.1 * rng.standard_normal((model.n_vertices, 3))  # what a detail or photometric stage may have added
    vertices = model.vertices(identity, expression) + offset
    parts = {"identity": identity, "expression": expression, "vertices": vertices,
             "provenance": {"model": {"name": model.name, "hash": model.hash}}}  # fmt: skip
    return dataclasses.replace(fit, **parts | changes)


def test_nobodys_head_is_the_mean_with_the_persons_expression() -> None:
    avatar = Avatar(MODEL)
    np.testing.assert_array_equal(avatar.vertices(None), MODEL.mean)
    weights = np.array([0.3, 0.7])
    np.testing.assert_allclose(avatar.vertices(weights), MODEL.vertices(None, weights))


def test_another_fits_head_keeps_its_own_shape() -> None:
    other = _other()
    avatar = Avatar(MODEL, other)
    np.testing.assert_allclose(avatar.vertices(other.expression), other.vertices, atol=1e-9)
    moved = avatar.vertices([0.1, 0.2]) - other.vertices
    np.testing.assert_allclose(moved, np.einsum("e,enk->nk", np.array([-0.4, 1.2]), MODEL.expression), atol=1e-6)


def test_a_head_of_another_model_is_driven_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    there = small_model(expression_names=("smile", "wink"), name="other")
    monkeypatch.setattr("facefit.apps.webcam.avatar.model_with_hash", {there.hash: there}.__getitem__)
    avatar = Avatar(MODEL, _other(there))  # the tracker's units are "blink", "smile"
    both = avatar.vertices([0.9, 0.25]) - avatar.vertices([0.0, 0.0])
    np.testing.assert_allclose(both, 0.25 * there.expression[0], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"vertices": None}, InvalidInputError, "--as: expected a fit with a face, got CONVERGED"),
        ({"provenance": {}}, InvalidInputError, "--as: expected a fit that says which model it is of"),
        ({"provenance": {"model": {"name": "m", "hash": "0" * 64}}}, ModelError, "--as: the model 'm' of the fit"),
    ],
)
def test_a_fit_that_cannot_be_an_avatar(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Avatar(MODEL, _other(**changes))


def test_the_avatars_head_is_in_the_middle_of_its_square_however_it_turns() -> None:
    for yaw in (None, -40.0, 40.0):
        rotation = None if yaw is None else rotation_from_angles(yaw, 0.0, 0.0)
        camera = head_camera(rotation, 264)
        assert camera.project(np.array([0.0, -14.0, -40.0]))[:2] == pytest.approx([131.5, 131.5])
