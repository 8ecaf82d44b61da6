"""facefit beside eos 1.5.0 (https://github.com/patrikhuber/eos): the same photo, the same points, the same model.

    python3 -m venv EOS && EOS/bin/pip install eos-py==1.5.0
    FACEFIT_TEST_DATA=... python benchmarks/peers/eos.py --eos-python EOS/bin/python [--repeats 10]

Both fit the Surrey model to the 68 points of eos's example photo, whose jaw lies on the outline. eos fits them with
`fit_shape_and_pose`, five iterations, once with the outline and once with the mapped points alone. The error is that
of the 49 points inside the face that eos's map knows, of which eos leaves out none: root mean square and mean distance
between the point and the model's, px. Beside it stand the largest identity coefficient, in standard deviations, and
the time of one warm fit: the fastest of the repeats, which others' work on the machine lengthens least.

facefit and eos need not share a Python: this file runs itself once more under `--eos-python`, with `--worker` (and
`-P`, lest `import eos` finds this file).
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

INNER = np.array([k for k in range(17, 68) if k not in (60, 64)])  # iBUG 18-68; 61 and 65 are not in eos's map
SIGMAS = (None, 0.03, 0.01)  # `landmark_sigma`; None: what the model states


def fastest(fit: Callable[[], Any], repeats: int) -> float:
    """Return the seconds of the fastest of some calls."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        fit()
        times.append(time.perf_counter() - started)
    return min(times)


def row(name: str, fitted: np.ndarray, observed: np.ndarray, identity: Any, seconds: float) -> dict[str, Any]:
    """Return one line of the table; `fitted` and `observed` (49, 2) px."""
    distance = np.linalg.norm(fitted - observed, axis=1)
    return {
        "name": name,
        "rms": float(np.sqrt(np.mean(distance**2))),
        "mean": float(distance.mean()),
        "largest": float(np.abs(identity).max()),
        "seconds": seconds,
    }


def eos_rows(data: Path, points: np.ndarray, size: tuple[int, int], repeats: int) -> list[dict[str, Any]]:
    """Fit with eos; `points` (68, 2) px, `size` width and height of the photo."""
    import eos

    share = data / "eos" / "share"
    model = eos.morphablemodel.load_model(str(share / "sfm_shape_3448.bin"))
    blendshapes = eos.morphablemodel.load_blendshapes(str(share / "expression_blendshapes_3448.bin"))
    model = eos.morphablemodel.MorphableModel(
        model.get_shape_model(),
        blendshapes,
        color_model=eos.morphablemodel.PcaModel(),
        vertex_definitions=None,
        texture_coordinates=model.get_texture_coordinates(),
    )
    mapper = eos.core.LandmarkMapper(str(share / "ibug_to_sfm.txt"))
    marks = [eos.core.Landmark(str(k + 1), point) for k, point in enumerate(points.tolist())]
    outline = (
        eos.morphablemodel.load_edge_topology(str(share / "sfm_3448_edge_topology.json")),
        eos.fitting.ContourLandmarks.load(str(share / "ibug_to_sfm.txt")),
        eos.fitting.ModelContour.load(str(share / "sfm_model_contours.json")),
    )
    rows = []
    for name, parts in (("eos, outline", outline), ("eos, mapped points only", ())):

        def fit(parts: tuple[Any, ...] = parts) -> Any:
            return eos.fitting.fit_shape_and_pose(model, marks, mapper, *size, *parts, num_iterations=5)

        mesh, camera, identity, _ = fit()
        vertices = [int(mapper.convert(str(k + 1))) for k in INNER]
        corners = np.c_[np.array(mesh.vertices)[vertices][:, :3], np.ones(len(vertices))]
        seen = corners @ (np.array(camera.get_projection()) @ np.array(camera.get_modelview())).T
        half = 0.5 * np.array(size)
        fitted = half + half * [1.0, -1.0] * seen[:, :2] / seen[:, 3:]
        rows.append(row(name, fitted, points[INNER], identity, fastest(fit, max(1, repeats // 3))))
    return rows


def facefit_rows(data: Path, points: np.ndarray, repeats: int) -> list[dict[str, Any]]:
    """Fit with facefit, sliding the jaw, at some standard deviations of the points."""
    import facefit
    from facefit.models.formats.surrey import read_model

    model = read_model(data / "eos" / "share" / "sfm_shape_3448.bin")
    rows = []
    for sigma in SIGMAS:
        options = facefit.FitOptions(landmark_convention="contour", landmark_sigma=sigma)

        def fit(options: Any = options) -> Any:
            return facefit.fit_landmarks(points, model=model, options=options)

        result = fit()
        name = "facefit, outline" + (f", sigma {sigma}" if sigma else "")
        rows.append(
            row(name, result.landmarks_fitted[INNER], points[INNER], result.identity, fastest(fit, 10 * repeats))
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("FACEFIT_TEST_DATA"), help="the test data")
    parser.add_argument("--eos-python", help="a Python that has eos-py")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.data is None or (not arguments.eos_python and not arguments.worker):
        parser.error("expected --eos-python, and --data or FACEFIT_TEST_DATA")
    if arguments.worker:
        task = json.loads(input())
        rows = eos_rows(arguments.data, np.array(task["points"]), tuple(task["size"]), arguments.repeats)
        print(json.dumps(rows))
        return

    import facefit
    from facefit.fitting.landmark_files import read_landmarks

    example = arguments.data / "eos" / "examples" / "image_0010"
    points = read_landmarks(example.with_suffix(".pts"), origin=1)
    height, width = facefit.read_image(example.with_suffix(".png")).shape[:2]
    command = [arguments.eos_python, "-P", __file__, "--worker", "--data", str(arguments.data)]
    command += ["--repeats", str(arguments.repeats)]
    task = json.dumps({"points": points.tolist(), "size": [width, height]})
    worker = subprocess.run(command, input=task, capture_output=True, text=True, check=True)
    rows = json.loads(worker.stdout) + facefit_rows(arguments.data, points, arguments.repeats)
    slowest = rows[0]["seconds"]
    print(f"{'':32s} rms px  mean px  largest coefficient     ms  eos's time / this")
    for line in rows:
        print(
            f"{line['name']:32s} {line['rms']:6.2f}  {line['mean']:7.2f}  {line['largest']:19.2f} "
            f"{1e3 * line['seconds']:6.1f}  {slowest / line['seconds']:17.1f}"
        )


if __name__ == "__main__":
    main()
