"""Build necks by name. A neck maps features to embeddings."""

from __future__ import annotations

import itertools
from typing import Literal

from torch import Tensor, nn

from steradian.errors import InputError
from steradian.models.encoders import SMALL, pooled

NeckName = Literal["auto", "conv", "linear", "bn", "mlp", "affine", "none"]


class ConvNeck(nn.Module):
    """Feature map [N, F, h, w] -> embedding [N, D]: 3x3 convolution, global mean, batch norm (system B)."""

    def __init__(self, num_features: int, embedding_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(num_features, embedding_size, 3, padding=1)
        self.normalization = nn.BatchNorm1d(embedding_size)

    def forward(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.normalization(self.convolution(features).mean(dim=(2, 3)))
        return embeddings


class LinearNeck(nn.Module):
    """Feature vector [N, F] -> embedding [N, D]: linear map, batch norm."""

    def __init__(self, num_features: int, embedding_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, embedding_size, bias=False)
        self.normalization = nn.BatchNorm1d(embedding_size)

    def forward(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.normalization(self.linear(pooled(features)))
        return embeddings


class NoNeck(nn.Module):
    """Feature vector [N, F] -> embedding [N, F]: the features themselves."""

    def __init__(self, num_features: int, embedding_size: int) -> None:
        super().__init__()
        _same_size("none", num_features, embedding_size)

    def forward(self, features: Tensor) -> Tensor:
        return pooled(features)


class NormNeck(nn.Module):
    """Feature vector [N, F] -> embedding [N, F]: batch norm alone."""

    def __init__(self, num_features: int, embedding_size: int) -> None:
        super().__init__()
        _same_size("bn", num_features, embedding_size)
        self.normalization = nn.BatchNorm1d(embedding_size)

    def forward(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.normalization(pooled(features))
        return embeddings


def _same_size(neck: str, num_features: int, embedding_size: int) -> None:
    if num_features != embedding_size:
        raise InputError(
            f"the neck {neck!r} keeps the number of dimensions: the encoder gives {num_features} features, but "
            f"embedding_size is {embedding_size}. Use --embedding-size {num_features}, or another neck."
        )


class AffineNeck(nn.Module):
    """Feature vector [N, F] -> embedding [N, D]: linear map with offset, such as a whitening fitted in closed form."""

    def __init__(self, num_features: int, embedding_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, embedding_size)

    def forward(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.linear(pooled(features))
        return embeddings


class ResidualBlock(nn.Module):
    """h = ReLU(linear(x)); output h + BN(f(BN(h))), where f is three times dropout, linear, ReLU (system A)."""

    DROPOUT = 0.05

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.entry = nn.Linear(num_features, width)
        self.before = nn.BatchNorm1d(width)
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Dropout(self.DROPOUT), nn.Linear(width, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.after = nn.BatchNorm1d(width)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.entry(features).relu()
        output: Tensor = hidden + self.after(self.layers(self.before(hidden)))
        return output


class ResidualNeck(nn.Module):
    """Feature vector [N, F] -> embedding [N, D]: residual blocks of 256, 128 and 64, linear map (system A)."""

    WIDTHS = (256, 128, 64)

    def __init__(self, num_features: int, embedding_size: int) -> None:
        super().__init__()
        sizes = (num_features, *self.WIDTHS)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(sizes)))
        self.linear = nn.Linear(self.WIDTHS[-1], embedding_size)

    def forward(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.linear(self.blocks(pooled(features)))
        return embeddings


NECKS: dict[str, type[ConvNeck | LinearNeck | NormNeck | ResidualNeck | AffineNeck | NoNeck]] = {
    "conv": ConvNeck,
    "linear": LinearNeck,
    "bn": NormNeck,
    "mlp": ResidualNeck,
    "affine": AffineNeck,
    "none": NoNeck,
}


def build_neck(name: NeckName, encoder_name: str, num_features: int, embedding_size: int) -> nn.Module:
    """Build the neck ``name``; "auto" means "conv" for the encoder "small" and "linear" for all others."""
    if name == "conv" and encoder_name != SMALL:
        raise InputError(
            f"the neck 'conv' needs a feature map, but the encoder {encoder_name!r} gives vectors. Use 'linear'."
        )
    chosen = name if name != "auto" else ("conv" if encoder_name == SMALL else "linear")
    return NECKS[chosen](num_features, embedding_size)
