"""Measure the thresholds of the built-in model `faces`, and write its manifest.

    python benchmarks/faces/calibrate.py --data DIR

DIR holds `lfw_dev.zip`: the people of LFW's development folds, of whom only numbers enter the manifest. Of every
picture the face that stands out most is taken; those without a found face are counted, and not in the thresholds. The
quality gate is that of quality.json, which quality.py writes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import torch

import steradian as st
from steradian.errors import DataError
from steradian.finding.faces import weights_file
from steradian.models import ModelSpec, Recognizer
from steradian.models.calibration import Calibration, Thresholds
from steradian.models.dlib_resnet import PREPROCESSING, read_resnet
from steradian.models.encoders import DLIB_FACE
from steradian.models.fitted_calibration import fit_strangers, fit_thresholds, pair_curve
from steradian.models.pretrained import FACE_WEIGHTS, FaceArtifact
from steradian.models.quality_gate import QualityGate
from steradian.training.progress import shown

ZOOMS = (0.947, 0.88, 0.827)
"""dlib's network knows squares with a quarter of the face as room on each side; these have .30, .25 and .20 of it."""

FOLDER = Path(__file__).parents[2] / "src" / "steradian" / "models" / "faces"


def untrained() -> Recognizer:
    """Return dlib's network with its 128 numbers as the embedding, and one class that says nothing."""
    spec = ModelSpec(
        encoder=DLIB_FACE,
        embedding_size=128,
        loss="softmax",
        loss_options={"bias": False},
        classes=("face",),
        preprocessing=PREPROCESSING,
        neck="none",
        flip_tta=True,
        zooms=ZOOMS,
    )
    model = Recognizer(spec)
    model.encoder.load_state_dict(read_resnet(weights_file(FACE_WEIGHTS)).state_dict())
    with torch.no_grad():
        model.head.weight.zero_()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = untrained()
    with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
        with zipfile.ZipFile(args.data / "lfw_dev.zip") as archive:
            archive.extractall(scratch)
        images, squares, labels = st.data.open(scratch), [], []
        for index in shown(range(len(images)), len(images), "finding"):
            # Not `load_for`, which refuses a set where a person would be left without a picture.
            with contextlib.suppress(DataError):
                pixels = images.pixels(index, model.preprocessing.shortest)
                squares.append(model.preprocessing.prominent_square(pixels))
                labels.append(images.labels[index])
    model.accelerate()
    part = model.raw_embeddings(torch.from_numpy(np.stack(squares))).numpy(), np.array(labels)
    people, missed = len(np.unique(labels)), len(images) - len(labels)
    note = f"{len(labels)} faces of {people} people; in {missed} more pictures none was found"
    model.thresholds = Thresholds(fit_thresholds([part], note))
    model.strangers = fit_strangers([part], note)
    model.calibration = Calibration(temperature=1.0, pairs=pair_curve([part]), measured_on=note)
    model.gate = QualityGate(**json.loads(Path(__file__).with_name("quality.json").read_text())["gate"])
    for one in model.thresholds:
        print(f"{one.far:g}: {one.cosine:.4f} ({one.low:.4f} to {one.high:.4f})")
    origin = {
        "date": str(date.today()),
        "steradian": st.__version__,
        "torch": torch.__version__,
        "data": {"source": f"the publisher of the weights (dlib, CC0): 3 million faces; thresholds: {note}"},
        "command": "python benchmarks/faces/calibrate.py",
    }
    readme = (FOLDER / "README.md").read_text() if (FOLDER / "README.md").is_file() else None
    manifest = model.save(FOLDER, origin)
    (FOLDER / "model.safetensors").unlink()
    if readme is not None:
        (FOLDER / "README.md").write_text(readme)
    opened = FaceArtifact.open(FOLDER)
    opened.check_id(opened.tensors())
    print(manifest.id)


if __name__ == "__main__":
    main()
