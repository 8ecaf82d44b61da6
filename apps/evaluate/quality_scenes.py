"""Photos of known people, and all that can go wrong with them: what a fit's quality is calibrated on.

A scene is a random person of a model, rendered, with 68 observed points. Each of these is drawn anew:

    person      the model's own, displaced by a smooth field of 0 to 4 mm RMS that the model does not span; albedo from
                its modes, times a smooth field of up to 15 %, and in three of ten with patches like beards or paint
    view        yaw within 60, pitch within 20, roll within 25 degrees; face 35 to 320 px; a lamp over ambient light
    photo       patches behind the head; a hard shadow in two of ten; noise up to 6 %, sometimes blurred, sometimes grey
    covered     in four of ten: a rectangle, a bar or a hand; points under it may be guessed
    points      as given by hand (semantic, independent noise) or as by a detector (contour, errors shared by a
                feature's points), 0.5 to 8 % of the face's size; in a quarter, 3 to 20 of them displaced by 8 to 40 %
    wrong       in a sixth: points of the face in another pose, of another size, of somebody else, or on the background

The error of a fit is the mean distance of the face's vertices from the true ones in the image, over the face's size;
with `depth` that of all three coordinates in the camera's frame, depths less their mean, which no picture tells.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ...fitting.dlib_detector import LANDMARK_SIGMA, OPENING_CORRELATION
from ...fitting.landmark_noise import LandmarkNoise
from ...fitting.landmark_task import JawMatching, landmark_task
from ...fitting.landmarks import COUNT, GROUPS, LandmarkConvention, box_size
from ...fitting.options import FitOptions
from ...fitting.state_prior import PoseAndShape
from ...models.morphable_model import MorphableModel
from ...render.cameras import ScaledOrthographic, rotation_from_angles
from ...render.renderer import NumbaRenderer
from ...render.spherical_harmonics import FACTORS, LAMBERT, basis

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

MAX_BUMPS = 4.0  # mm
SKIN = (0.52, 0.33, 0.25)  # linear reflectance of a model without colours
HAND = np.array([190.0, 145.0, 120.0])  # sRGB of a hand in middling light

GIVEN = FitOptions(landmark_convention=LandmarkConvention.SEMANTIC)
DETECTED = FitOptions(
    landmark_convention=LandmarkConvention.CONTOUR,
    landmark_sigma=LANDMARK_SIGMA,
    opening_correlation=OPENING_CORRELATION,
)


@dataclass(frozen=True, eq=False)
class QualityScene:
    """A photo, its observed points, and the truth."""

    image: Pixels  # (H, W, 3)
    landmarks: Array  # (68, 2) px, observed
    options: FitOptions  # that such points are to be fitted with
    size: float  # px, the face's
    face: Array  # (n, 3) px, depth included: the true vertices of the face in the camera's frame
    semantic: Array  # (68, 3) px, likewise the semantic points
    tags: frozenset[str]  # what went wrong

    def error(
        self, camera: ScaledOrthographic, vertices: Array, model: MorphableModel, *, depth: bool = False
    ) -> float:
        """Return the error of a fit of this scene's own model, `vertices` (N, 3) mm."""
        return self._apart(camera, vertices[face_of(model)], self.face, depth)

    def point_error(self, camera: ScaledOrthographic, vertices: Array, model: MorphableModel) -> float:
        """Return the same of the 68 semantic points, which all models have in common; `model` is the fit's."""
        return self._apart(camera, model.landmark_positions(vertices), self.semantic, depth=False)

    def _apart(self, camera: ScaledOrthographic, points: Array, true: Array, depth: bool) -> float:
        apart = camera.project(points) * (1.0, 1.0, camera.scale) - true
        apart[:, 2] -= apart[:, 2].mean()
        return float(np.linalg.norm(apart[:, : 3 if depth else 2], axis=1).mean()) / self.size


@dataclass(frozen=True, eq=False)
class _Person:
    """Somebody before a camera."""

    model: MorphableModel  # its mean holds what this person alone has
    state: PoseAndShape
    vertices: Array  # (N, 3) mm

    @property
    def camera(self) -> ScaledOrthographic:
        return ScaledOrthographic(self.state.rotation, self.state.translation, self.state.scale)

    @property
    def size(self) -> float:
        return self.state.scale * self.model.face_size

    def placed(self, points: Array) -> Array:
        """Return points (n, 3) mm in the camera's frame, all in px."""
        return self.camera.project(points) * (1.0, 1.0, self.state.scale)


def face_of(model: MorphableModel) -> NDArray[np.bool_]:
    """Return (N,): the vertices of the face, all where a model does not say."""
    return model.regions.get("face", np.ones(model.n_vertices, dtype=bool))


def random_quality_scene(model: MorphableModel, rng: np.random.Generator) -> QualityScene:
    """Draw one scene of a model's people."""
    tags: set[str] = set()
    person = _random_person(model, rng)
    image, person = _photograph(person, rng)
    if rng.random() < 0.4:
        hidden = _cover(image, person.placed(person.vertices[face_of(model)])[:, :2], person.size, rng)
        tags.add("covered")
    else:
        hidden = np.zeros(image.shape[:2], dtype=bool)
    detected = rng.random() < 0.5
    landmarks, options = _observed(person, hidden, detected, rng, tags)
    return QualityScene(
        image=_developed(image, person.size, rng),
        landmarks=landmarks,
        options=options,
        size=person.size,
        face=person.placed(person.vertices[face_of(model)]),
        semantic=person.placed(model.landmark_positions(person.vertices)),
        tags=frozenset(tags | {"detected" if detected else "given"}),
    )


# --- People ------------------------------------------------------------------------------------------------------


def _random_person(model: MorphableModel, rng: np.random.Generator) -> _Person:
    field = np.stack([_bumps(model, rng, 12.0, 50.0) for _ in range(3)], axis=1) / np.sqrt(3.0)
    mean = model.mean + rng.uniform(0.0, MAX_BUMPS) * field
    own = replace(model, mean=mean.astype(model.mean.dtype))
    active = rng.random(model.n_expression) < 0.2
    expression = model.expression_sigma * rng.standard_normal(model.n_expression)
    expression = np.where(model.expression_lower < 0.0, expression, np.abs(expression)) * active
    expression = np.clip(expression, model.expression_lower, model.expression_upper)
    identity = rng.uniform(0.7, 1.4) * rng.standard_normal(model.n_identity)
    angles = rng.uniform(-1.0, 1.0, 3) * (60.0, 20.0, 25.0)
    scale = float(np.exp(rng.uniform(np.log(35.0), np.log(320.0)))) / model.face_size
    state = PoseAndShape(
        rotation_from_angles(*angles), np.zeros(2), scale, np.concatenate([identity, expression])
    )  # fmt: skip
    return _Person(own, state, own.vertices(identity, expression))


def _bumps(model: MorphableModel, rng: np.random.Generator, least: float, most: float) -> Array:
    """Return a smooth random field (N,) over the mean's surface, RMS 1 on the face, of bumps so wide (mm)."""
    points, face = np.asarray(model.mean, dtype=np.float64), face_of(model)
    field = np.zeros(len(points))
    for centre in points[rng.choice(np.flatnonzero(face), 16)]:
        square = ((points - centre) ** 2).sum(axis=1)
        field += rng.standard_normal() * np.exp(-0.5 * square / rng.uniform(least, most) ** 2)
    return field / max(float(np.sqrt(np.mean(field[face] ** 2))), 1e-9)


def _random_light(rng: np.random.Generator) -> Array:
    """Return light (9, 3): a lamp up to 75 degrees off the line of sight over ambient light, both near white."""
    angle, around = np.radians(rng.uniform(0.0, 75.0)), rng.uniform(0.0, 2.0 * np.pi)
    lamp = np.array([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), -np.cos(angle)])
    ambient, (first, second) = rng.uniform(0.15, 0.7), 1.0 + 0.1 * rng.standard_normal((2, 3))
    light = np.outer(np.pi * (1.0 - ambient) * basis(lamp) / LAMBERT, second)
    light[0] += ambient / FACTORS[0] * first
    return rng.uniform(0.5, 1.2) * light


# --- Photos ------------------------------------------------------------------------------------------------------


def _photograph(person: _Person, rng: np.random.Generator) -> tuple[Pixels, _Person]:
    """Return the photo, cut out around the head with a random margin, and the person in its coordinates."""
    places = person.camera.project(person.vertices)[:, :2]
    low = np.floor(places.min(axis=0) - rng.uniform(0.05, 0.8, 2) * person.size)
    width, height = (np.ceil(places.max(axis=0) + rng.uniform(0.05, 0.8, 2) * person.size) - low).astype(int).tolist()
    person = replace(person, state=person.state._replace(translation=person.state.translation - low))
    model = person.model
    colours = model.reflectance(rng.standard_normal(model.n_albedo))
    colours = np.tile(SKIN, (model.n_vertices, 1)) if colours is None else colours
    blotches = 1.0 + rng.uniform(0.0, 0.15) * _bumps(model, rng, 8.0, 40.0)[:, None] * np.ones(3)
    if rng.random() < 0.3:
        blotches[_bumps(model, rng, 15.0, 40.0) > 1.0] *= rng.uniform(0.2, 1.4, 3)
    head = NumbaRenderer().draw(
        person.camera, person.vertices, model.triangles, height, width,
        colours=np.clip(colours * blotches, 0.01, 1.0), lighting=_random_light(rng),
    )  # fmt: skip
    alpha = head[..., 3:] / 255.0
    behind = _patches(rng, height, width, max(int(rng.uniform(0.1, 0.8) * person.size), 2))
    return np.rint(alpha * head[..., :3] + (1.0 - alpha) * behind).astype(np.uint8), person


def _patches(rng: np.random.Generator, height: int, width: int, side: int) -> Array:
    """Return a background (height, width, 3), sRGB 0-255: coloured patches, sharp or smooth, of middling contrast."""
    coarse = rng.uniform(20.0, 235.0, 3) + rng.uniform(0.0, 60.0) * rng.standard_normal(
        (height // side + 2, width // side + 2, 3)
    )
    mode = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_NEAREST
    size = ((width // side + 2) * side, (height // side + 2) * side)
    patches = np.asarray(cv2.resize(coarse, size, interpolation=mode), dtype=np.float64)[:height, :width]
    return np.clip(patches, 0.0, 255.0)


def _cover(image: Pixels, face: Array, size: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw something over part of a face with points (n, 2), px; return where it is (H, W)."""
    x, y = (int(value) for value in face[rng.integers(len(face))])
    extent, angle = rng.uniform(0.15, 0.5) * size, rng.uniform(0.0, 360.0)
    mask, kind = np.zeros(image.shape[:2], np.uint8), rng.integers(3)
    if kind == 2:
        cv2.circle(mask, (x, y), max(int(0.7 * extent), 1), 1, -1)
        for turn in np.radians(angle + np.array([-33.0, -11.0, 11.0, 33.0])):
            tip = int(x + 1.8 * extent * np.cos(turn)), int(y + 1.8 * extent * np.sin(turn))
            cv2.line(mask, (x, y), tip, 1, max(int(0.28 * extent), 1))
    else:
        sides = (2.0 * extent, 2.0 * extent * rng.uniform(0.5, 1.0)) if kind == 0 else (9.0 * size, extent)
        corners = cv2.boxPoints(((float(x), float(y)), sides, angle))
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    hidden = mask.astype(bool)
    colour = HAND * rng.uniform(0.6, 1.2) if kind == 2 else rng.uniform(0.0, 255.0, 3)
    shade = 1.0 + rng.uniform(0.0, 0.25) * np.sin(np.indices(mask.shape).sum(axis=0) / (0.1 * size))
    image[hidden] = np.clip(colour * shade[hidden][:, None], 0.0, 255.0).astype(np.uint8)
    return hidden


def _developed(image: Pixels, size: float, rng: np.random.Generator) -> Pixels:
    """Return the photo as a poor camera takes it."""
    values = image.astype(np.float64)
    if rng.random() < 0.2:
        rows, columns = np.indices(image.shape[:2])
        turn = rng.uniform(0.0, 2.0 * np.pi)
        beyond = np.cos(turn) * (columns - 0.5 * columns.max()) + np.sin(turn) * (rows - 0.5 * rows.max())
        values[beyond > rng.uniform(-0.3, 0.3) * size] *= rng.uniform(0.4, 0.8)
    if rng.random() < 0.3:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.005, 0.03) * size), dtype=np.float64)
    if rng.random() < 0.1:
        values[:] = values.mean(axis=2, keepdims=True)
    values += rng.uniform(0.0, 0.06) * 255.0 * rng.standard_normal(values.shape)
    return np.clip(np.rint(values), 0.0, 255.0).astype(np.uint8)


# --- Points ------------------------------------------------------------------------------------------------------


def _observed(
    person: _Person, hidden: NDArray[np.bool_], detected: bool, rng: np.random.Generator, tags: set[str]
) -> tuple[Array, FitOptions]:
    """Return observed points (68, 2) px and the options to fit them with; adds what is wrong with them to `tags`."""
    exact = _wrong(person, detected, rng, tags) if rng.random() < 1.0 / 6.0 else _exact(person, detected)
    sigma = _random_sigma(rng)
    noise = rng.standard_normal((COUNT, 2))
    if detected:
        shared = np.empty((COUNT, 2))
        for group in GROUPS.values():
            shared[group] = rng.standard_normal(2)
        noise = np.sqrt(0.5) * (noise + shared) * (LANDMARK_SIGMA / np.sqrt(np.mean(LANDMARK_SIGMA**2)))[:, None]
    if rng.random() < 0.5:
        x, y = np.clip(np.rint(exact), 0, np.array(hidden.shape[::-1]) - 1).astype(int).T
        guessed = hidden[y, x]
        noise[guessed] += 0.08 / sigma * rng.standard_normal((int(guessed.sum()), 2))
    points = exact + sigma * person.size * noise
    if rng.random() < 0.25:
        tags.add("outliers")
        points = _with_outliers(points, person.size, rng)
    # Some callers know how good their points are.
    known = GIVEN if rng.random() < 0.7 else replace(GIVEN, landmark_sigma=sigma)
    return points, DETECTED if detected else known


def _random_sigma(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(0.005), np.log(0.08))))


def _with_outliers(points: Array, size: float, rng: np.random.Generator) -> Array:
    """Return points of which 3 to 20 are displaced by 8 to 40 % of the face's size."""
    points, chosen = points.copy(), rng.choice(COUNT, rng.integers(3, 21), replace=False)
    points[chosen] += [_step(size * rng.uniform(0.08, 0.4), rng) for _ in chosen]
    return points


def _step(length: float, rng: np.random.Generator) -> Array:
    """Return a vector (2,) of a random direction."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    return length * np.array([np.cos(angle), np.sin(angle)])


def _exact(person: _Person, detected: bool) -> Array:
    """Return where the points are (68, 2), px: fixed points of the face, or a detector's, the jaw's on the outline."""
    model, state = person.model, person.state
    semantic = person.placed(model.landmark_positions(person.vertices))[:, :2]
    if not detected:
        return semantic
    noise = LandmarkNoise(LANDMARK_SIGMA)
    task = landmark_task(model, semantic, noise, LandmarkConvention.CONTOUR)
    task = replace(task, observed=task.problem(state.scale).projected(state))
    return task.problem(state.scale, JawMatching().again(task, state).match).projected(state)


def _wrong(person: _Person, detected: bool, rng: np.random.Generator, tags: set[str]) -> Array:
    """Return points (68, 2), px, of something else: in another pose or size, of somebody else, or of the background."""
    state, kind = person.state, rng.choice(["turned", "scaled", "other", "elsewhere"])
    tags.add(str(kind))
    centre = _exact(person, detected).mean(axis=0)
    if kind == "turned":
        angles = rng.choice([-1.0, 1.0], 3) * rng.uniform((25.0, 0.0, 15.0), (60.0, 20.0, 60.0))
        state = state._replace(rotation=state.rotation @ rotation_from_angles(*angles) * (1.0, -1.0, -1.0))
    elif kind == "scaled":
        state = state._replace(scale=state.scale * float(rng.choice([rng.uniform(0.5, 0.8), rng.uniform(1.25, 1.8)])))
    elif kind == "other":
        state = _random_person(person.model, rng).state._replace(scale=state.scale * float(rng.uniform(0.8, 1.2)))
    c, split = state.coefficients, person.model.n_identity
    points = _exact(_Person(person.model, state, person.model.vertices(c[:split], c[split:])), detected)
    least, most = (0.4, 1.3) if kind == "elsewhere" else (0.0, 0.15)
    return points - points.mean(axis=0) + centre + _step(person.size * rng.uniform(least, most), rng)


# --- Photos that are there already ---------------------------------------------------------------------------------

MISHAPS = ("none", "noise", "outliers", "covered", "elsewhere", "turned", "scaled")
"""What `mishap_scene` can do."""


def mishap_scene(photo: Pixels, truth: Array, rng: np.random.Generator, mishap: str) -> QualityScene:
    """Return a photo whose semantic points (68, 2) px are known, after one of MISHAPS.

    "covered" hides part of the face; the others are the points' own.
    """
    size, centre, points, image = box_size(truth), truth.mean(axis=0), truth, photo.copy()
    if mishap in ("noise", "outliers"):
        points = points + _random_sigma(rng) * size * rng.standard_normal(points.shape)
    if mishap == "outliers":
        points = _with_outliers(points, size, rng)
    elif mishap == "elsewhere":
        points = points + _step(size * rng.uniform(0.3, 1.0), rng)
    elif mishap == "turned":
        angle = np.radians(rng.choice([-1.0, 1.0]) * rng.uniform(15.0, 60.0))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = (points - centre) @ turn.T + centre
    elif mishap == "scaled":
        points = float(rng.choice([rng.uniform(0.5, 0.8), rng.uniform(1.25, 1.8)])) * (points - centre) + centre
    elif mishap == "covered":
        _cover(image, truth, size, rng)
    semantic = np.column_stack([truth, np.zeros(COUNT)])
    return QualityScene(image, points, GIVEN, size, np.zeros((0, 3)), semantic, frozenset({mishap}))
