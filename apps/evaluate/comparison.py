"""One method against another on the same images: by how much, how often, and where it loses most."""

from typing import Any

import numpy as np

from .evaluation import DETECTOR, FIT, LANDMARK_STAGE, MATCHED, MEAN_FACE, Evaluation
from .measures import OFFSET_FREE_FRONTAL, PSNR, SCAN_MEAN, SCAN_MEDIAN, by_image

Row = dict[str, Any]

PAIRS = (
    (FIT, LANDMARK_STAGE, (SCAN_MEDIAN, SCAN_MEAN, OFFSET_FREE_FRONTAL, PSNR)),
    (FIT, MEAN_FACE, (SCAN_MEDIAN, SCAN_MEAN, PSNR)),
    (FIT, DETECTOR, (OFFSET_FREE_FRONTAL,)),
    (MATCHED, DETECTOR, (OFFSET_FREE_FRONTAL,)),
)
"""Which methods are compared, and by what."""


def comparisons(evaluation: Evaluation) -> list[Row]:
    """Return a row for each of PAIRS and measures that the evaluation holds, over the images that both methods have.

    "ratio %": mean of the first over mean of the second (not of decibels); "median gain": median over the images of how
    much the first is better, in the measure's unit; "better %": share of the images on which it is; "worst": by how
    much it loses where it loses most, negative where it loses nowhere, and "worst image".
    """
    rows = []
    for method, against, measures in PAIRS:
        for measure in measures:
            ours, theirs = by_image(evaluation, method, measure), by_image(evaluation, against, measure)
            images = [image for image in ours if image in theirs]
            if not images:
                continue
            first, second = (np.array([values[image] for image in images]) for values in (ours, theirs))
            losses = second - first if measure == PSNR else first - second  # decibels are better high, errors low
            worst = int(losses.argmax())
            rows.append(
                {
                    "comparison": f"{method} / {against}: {measure}",
                    "images": len(images),
                    "ratio %": None if measure == PSNR else _percent(first.mean(), second.mean()),
                    "median gain": float(np.median(-losses)) + 0.0,  # no -0
                    "better %": 100.0 * float((losses < 0.0).mean()),
                    "worst": float(losses[worst]),
                    "worst image": images[worst],
                }
            )
    return rows


def _percent(part: float, whole: float) -> float | None:
    return 100.0 * float(part / whole) if whole > 0.0 else None
