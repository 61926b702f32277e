"""Measure the thresholds of the built-in models `general` (lite0) and `lite2`, and write their manifests.

    python benchmarks/general/calibrate.py --clothing DIR --symbols omniglot_background_28.npz --encoder lite0

The encoder was not trained on these kinds of pictures, which may be shipped: photographs of clothing (CC0) and drawn
symbols (Omniglot, MIT). A threshold is the higher one of the two kinds, and so is the lower end of its interval.
"""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import timm
import torch
from timm.data import ImageNetInfo

import steradian as st
from steradian.data.pixels import load_for
from steradian.models import ModelSpec, Recognizer
from steradian.models.calibration import Calibration, Threshold, Thresholds
from steradian.models.fitted_calibration import FARS, Part, fit_thresholds, pair_curve
from steradian.models.pretrained import PackagedArtifact, PretrainedWeights
from steradian.models.weight_packages import PACKAGES
from steradian.training.progress import shown

IMAGES = 2000
"""Images of each kind: two million pairs."""

FOLDER = Path(__file__).parents[2] / "src" / "steradian" / "models"


def class_names() -> tuple[str, ...]:
    """Return the 1,000 ImageNet classes: the first of their names, in full where two share it."""
    info = ImageNetInfo()
    full = info.label_descriptions()
    short = [name.partition(",")[0] for name in full]
    first, second = Counter(short), Counter(full)
    chosen = [one if first[one] == 1 else whole for one, whole in zip(short, full, strict=True)]
    synsets = info.label_names()
    return tuple(
        name if second[whole] == 1 else f"{name} ({synset})"
        for name, whole, synset in zip(chosen, full, synsets, strict=True)
    )


def untrained(name: str) -> Recognizer:
    """Return the encoder with its features as the embedding, and its ImageNet classifier."""
    package = PACKAGES[name]
    spec = ModelSpec(
        encoder=package.encoder,
        embedding_size=timm.create_model(package.encoder, num_classes=0).num_features,
        loss="softmax",
        loss_options={"bias": True},
        classes=class_names(),
        preprocessing=package.preprocessing,
        neck="none",
    )
    model = Recognizer(spec)
    PretrainedWeights.open(package.encoder, "package").fill(model.encoder)
    published = package.tensors()
    with torch.no_grad():
        model.head.weight.copy_(published["classifier.weight"])
        model.head.bias.copy_(published["classifier.bias"])
    return model.eval()


def embedded(model: Recognizer, source: Path, seed: int = 0) -> Part:
    """Return embeddings of random images of ``source`` with their labels."""
    images = st.data.open(str(source))
    pixels, _ = load_for(images, model.preprocessing, shown)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pixels))[:IMAGES])
    model.accelerate()
    return model.raw_embeddings(torch.from_numpy(pixels.pixels[chosen])).numpy(), pixels.labels[chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clothing", type=Path, required=True)
    parser.add_argument("--symbols", type=Path, required=True)
    parser.add_argument("--encoder", choices=list(PACKAGES), default="lite0")
    args = parser.parse_args()
    model = untrained(args.encoder)
    parts = [embedded(model, source) for source in (args.clothing, args.symbols)]
    note = " and ".join(
        f"{len(labels)} {what} of {len(np.unique(labels))} kinds"
        for (_, labels), what in zip(parts, ("photographs of clothing", "drawn symbols"), strict=True)
    )
    measured = [fit_thresholds([part], note) for part in parts]
    by_far = {far: [one for part in measured for one in part if one.far == far] for far in FARS}
    highest = [max(found, key=lambda one: one.cosine) for found in by_far.values() if len(found) == len(parts)]
    for far in FARS:
        print(far, [(round(one.cosine, 3), round(one.low, 3), round(one.high, 3)) for one in by_far[far]])
    model.thresholds = Thresholds(tuple(Threshold(**one.model_dump()) for one in highest))
    model.calibration = Calibration(temperature=1.0, pairs=pair_curve(parts), measured_on=note)
    folder = FOLDER / args.encoder
    readme = (folder / "README.md").read_text() if (folder / "README.md").is_file() else None
    origin = {
        "date": str(date.today()),
        "steradian": st.__version__,
        "torch": torch.__version__,
        "data": {"source": "ImageNet, by the publishers of the weights (Apache-2.0); thresholds: " + note},
        "command": f"python benchmarks/general/calibrate.py --encoder {args.encoder}",
    }
    manifest = model.save(folder, origin)
    (folder / "model.safetensors").unlink()
    if readme is not None:
        (folder / "README.md").write_text(readme)
    opened = PackagedArtifact.open(folder)
    opened.check_id(opened.tensors())
    print(manifest.id)


if __name__ == "__main__":
    main()
