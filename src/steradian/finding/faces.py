"""Find faces and five points in each: corners of the eyes and the base of the nose.

The detector is dlib's (histograms of oriented gradients, Dalal and Triggs 2005; Boost licence), the points are those of
``face-recognition-models`` (regression trees, Kazemi and Sullivan 2014; CC0).
"""

from __future__ import annotations

import importlib.util
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from steradian.errors import UsageError
from steradian.extras import install, require
from steradian.finding.alignment import similarity
from steradian.finding.regions import Pixels, Points, Region

POINTS_FILE = "shape_predictor_5_face_landmarks.dat"

PADDING = 0.35
"""Room around a face in its square, as a share of the square without room: enough to look at it closer, too."""

MEAN_FACE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
"""Mean places of the five points without room: outer and inner corner of the eye on the right of the picture, the same
of the other eye, base of the nose (dlib, ``get_face_chip_details``)."""

MOST_PIXELS = 4_000_000
"""Larger pictures are searched at this size: a face needs about 80 of these pixels."""

FEW_PIXELS = 1_000_000
"""Pictures up to this size without a face are searched again at twice their size."""

UNSURE = -0.3
"""Lowest score of a face where a picture shows no surer one. Of 15 of 3,811 portraits without a sure face it finds
nine, and with it a face is seen in 0, 5 and 13 % of pictures of monuments, road signs and dogs, without it in 0, 2 and
8 % (``benchmarks/faces``)."""


ARCFACE_EYES = np.array([[38.2946, 51.6963], [73.5318, 51.5014]]) / 112.0
"""Middles of the eye on the left of the picture and of the other, as shares of the side of an aligned square."""


def _middle(points: Points) -> Points:
    return np.asarray(points.mean(axis=0))


def _moved(points: Points, source: Points, target: Points) -> Points:
    """Return points after the similarity transform that maps ``source`` onto ``target``."""
    transform = similarity(source, target)
    return np.asarray(points @ transform[:, :2].T + transform[:, 2])


class Faces:
    """Find faces, also in pictures that lie on a side or stand on their head if there are none upright."""

    template: Points = (PADDING + MEAN_FACE) / (1.0 + 2.0 * PADDING)

    def __init__(self) -> None:
        require("faces", "The finder 'faces'")
        self._per_thread = threading.local()

    def __call__(self, pixels: Pixels) -> tuple[Region, ...]:
        """Return one region a face, with its points."""
        shrink = max(1.0, math.sqrt(pixels.shape[0] * pixels.shape[1] / MOST_PIXELS))
        searched = _resized(pixels, 1.0 / shrink) if shrink > 1.0 else pixels
        for lowest, turns in ((0.0, 4), (UNSURE, 1)):
            for turned in range(turns):
                faces = self._upright(np.ascontiguousarray(np.rot90(searched, turned)), lowest)
                if faces:
                    shape = searched.shape[:2]
                    return tuple(_region(*face, turned, shape, shrink) for face in faces)
        return ()

    def _upright(self, pixels: Pixels, lowest: float) -> list[tuple[Points, Points, float]]:
        """Return the corners [2, 2], the points [5, 2] and the score of each upright face."""
        detector, predictor = self._models()
        boxes, scores, _ = detector.run(pixels, 0, lowest)
        if not boxes and pixels.shape[0] * pixels.shape[1] <= FEW_PIXELS:
            boxes, scores, _ = detector.run(pixels, 1, lowest)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            # dlib counts from the middle of the first pixel, and its boxes end in their last pixel.
            points = np.array([[part.x + 0.5, part.y + 0.5] for part in predictor(pixels, box).parts()])
            corners = np.array([[box.left(), box.top()], [box.right() + 1.0, box.bottom() + 1.0]])
            faces.append((corners, points, float(score)))
        return faces

    def _models(self) -> tuple[Any, Any]:
        """Return detector and predictor of this thread: dlib's cannot be shared."""
        if not hasattr(self._per_thread, "models"):
            import dlib

            self._per_thread.models = (
                dlib.get_frontal_face_detector(),
                dlib.shape_predictor(str(weights_file(POINTS_FILE))),
            )
        models: tuple[Any, Any] = self._per_thread.models
        return models


class ArcFaceFaces(Faces):
    """Find faces, and cut them out as networks of the kind of ArcFace (Deng et al. 2019) expect them.

    Their published points are the middles of the eyes, and others that this predictor does not give. So its mean face
    is turned and scaled until the middles of its eyes are there.
    """

    template: Points = _moved(MEAN_FACE, np.array([_middle(MEAN_FACE[2:4]), _middle(MEAN_FACE[:2])]), ARCFACE_EYES)


def weights_file(name: str) -> Path:
    """Return where the package face-recognition-models has the file ``name``. Raises `UsageError` if it has none."""
    # Importing the package would need pkg_resources, which new versions of setuptools no longer have.
    spec = importlib.util.find_spec("face_recognition_models")
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(next(iter(folders or [""]))) / "models" / name
    if not path.is_file():
        raise UsageError(f"The weights {name} are not installed: {install('faces')}")
    return path


def _resized(pixels: Pixels, factor: float) -> Pixels:
    height, width = pixels.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _region(
    corners: Points, points: Points, score: float, turned: int, shape: tuple[int, ...], shrink: float
) -> Region:
    """Return a face of a picture of ``shape`` [H, W] that was shrunk, then turned, in pixels of the original."""
    corners, points = (shrink * _turned_back(one, turned, shape) for one in (corners, points))
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Region((left, top, right, bottom), score, points, turned)


def _turned_back(points: Points, turned: int, shape: tuple[int, ...]) -> Points:
    """Return points [P, 2] of a picture that was turned to the left by quarter turns in that of ``shape`` [H, W]."""
    height, width = shape
    x, y = points[:, 0], points[:, 1]
    places = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
    return np.column_stack(places[turned])
