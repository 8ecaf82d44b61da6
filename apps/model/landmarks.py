"""A model's 68 landmarks found or checked by rendering and detecting: what `model landmarks` says, draws and writes."""

from collections.abc import Mapping

import numpy as np

from ...fitting.detection import FaceDetector
from ...fitting.landmarks import GROUPS, POLYLINES
from ...models.morphable_model import LandmarkEmbedding, MorphableModel
from ...render.cameras import ScaledOrthographic, rotation_from_angles
from ...render.compositing import over
from ...render.drawing import BACKGROUND, Colour, Panel, Picture, draw_points, draw_polylines, montage
from ...render.renderer import Renderer
from .landmark_finder import find_landmarks

FOUND: Colour = (90, 215, 255)
PRESENT: Colour = (255, 176, 46)
SIDE, YAWS = 640, (0.0, 45.0)  # px, degrees


def detected_landmarks(model: MorphableModel, detector: FaceDetector, people: int) -> dict[str, LandmarkEmbedding]:
    """Return the maps that are to be written: the contour convention's, and for want of another the semantic one's."""
    found = find_landmarks(model, detector, people=people)
    return {"landmarks_contour": found} | ({"landmarks": found} if model.landmarks is None else {})


def comparison_text(model: MorphableModel, found: LandmarkEmbedding) -> str:
    """Return how far, by group, the found points lie from each map that the model has, mm on its mean."""
    places, lines = model.embedding_basis(found).mean, []
    for name, title in _present(model).items():
        away = np.linalg.norm(places - getattr(model, name).mean, axis=1)
        lines.append(f"found against the model's {title}, mm on its mean: mean (largest)")
        lines += [f"  {group:<12} {away[own].mean():5.1f} ({away[own].max():.1f})" for group, own in GROUPS.items()]
    return "\n".join(lines) or "the model has no landmarks of its own"


def landmarks_picture(model: MorphableModel, found: LandmarkEmbedding, renderer: Renderer) -> Picture:
    """Return the mean from two sides with the found points, and in another colour those that it has."""
    low, high = model.mean.min(axis=0), model.mean.max(axis=0)
    scale, panels = 0.9 * SIDE / float((high - low).max()), []
    maps = [(PRESENT, getattr(model, name).mean) for name in _present(model)]
    maps.append((FOUND, model.embedding_basis(found).mean))
    for yaw in YAWS:
        rotation = rotation_from_angles(yaw, 0.0, 0.0)
        centre = (SIDE - 1.0) / 2.0 - scale * (rotation @ (low + high))[:2] / 2.0
        camera = ScaledOrthographic(rotation, centre, scale)
        drawn = renderer.draw(camera, model.mean, model.triangles, SIDE, SIDE, colours=model.albedo_mean)
        picture = over(np.full((SIDE, SIDE, 3), BACKGROUND, np.uint8), drawn)
        for colour, points in maps:
            seen = camera.project(points)[:, :2]
            for line in POLYLINES:
                picture = draw_polylines(picture, [seen[list(line.indices)]], colour, closed=line.closed)
            picture = draw_points(picture, seen, colour, radius=1.5)
        panels.append(Panel(picture, "blue: found; orange: the model's own" if yaw == 0.0 else ""))
    return montage(panels, len(panels))


def _present(model: MorphableModel) -> Mapping[str, str]:
    """Return the model's own maps: the name of each one's basis, and what it is called."""
    maps = {"semantic_basis": "semantic landmarks"} if model.landmarks is not None else {}
    return maps | ({"contour_landmark_basis": "contour landmarks"} if model.landmarks_contour is not None else {})
