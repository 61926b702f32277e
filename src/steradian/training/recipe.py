"""The recipe: everything needed to repeat a run, as typed settings that are one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steradian.errors import UsageError, did_you_mean
from steradian.files import explained, sha256_of, write_text
from steradian.models.necks import NeckName
from steradian.models.pooling import PoolingName


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Settings):
    """Which images, at what size, and how they are divided."""

    source: str = Field("digits", description="Built-in name, folder, .zip, .tar, .npz, .csv or .parquet.")
    root: str | None = Field(None, description="Where the files of a built-in set are.")
    image_size: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="Pixels per side; none: native up to 64, else 64; pretrained: as it was taught.",
    )
    validation: float = Field(0.1, ge=0, lt=1, description="Share of the training images held out to watch or select.")
    calibration: float = Field(
        0.1, ge=0, lt=1, description="Share of the rest to fit probabilities and thresholds on, and for nothing else."
    )
    test: float = Field(
        0.2, ge=0, lt=1, description="Share of each class held out to measure, if the source names no test part."
    )
    unseen: Annotated[float, Field(ge=0, lt=1)] | list[str] = Field(
        0.0, description="Classes kept from training to verify on: a share, or names and patterns such as Greek/*."
    )
    min_images: int = Field(1, ge=1, description="Classes of fewer images are left out.")
    group_by: str | None = Field(
        None,
        description="Regular expression: images whose names have the same match (its first group, if it has one) are "
        "not divided between parts; none: a column 'group' of the table, if there is one.",
    )
    quarter_turns: bool = Field(
        False, description="Also train on each class turned by 90, 180 and 270 degrees, as three classes more."
    )
    split_seed: int = Field(0, ge=0, description="Of the draw; the same for all techniques and seeds.")


class ViewSettings(_Settings):
    """Random views of the training images; see `steradian.data.RandomView`."""

    rotation: float = Field(10.0, ge=0, le=180, description="Degrees.")
    scale: float = Field(0.1, ge=0, lt=1, description="Relative change of size.")
    shear: float = Field(0.15, ge=0, lt=1, description="Tangent of the angle.")
    shift: float = Field(0.07, ge=0, lt=1, description="Share of the side.")
    elastic: float = Field(0.0, ge=0, le=0.5, description="Bends of the image, deviation as a share of the side.")
    thicker: float = Field(0.0, ge=0, le=1, description="Probability that dark strokes are a pixel thicker.")
    operations: int = Field(0, ge=0, le=14, description="RandAugment: operations on each image; 0: none.")
    magnitude: int = Field(9, ge=0, le=30, description="Of those operations.")
    erasing: float = Field(0.0, ge=0, le=1, description="Probability that a rectangle is erased.")
    flip: float | None = Field(None, ge=0, le=1, description="Probability; none: 0.5 for RGB, 0 for gray.")
    until: float = Field(
        0.9, ge=0, le=1, description="Share of the steps that use views; the rest train on the originals."
    )


class ProgressiveSettings(_Settings):
    """Several views of each image in a batch, each harder than the one before; see `steradian.data.progressive`."""

    views: int = Field(1, ge=1, le=16, description="Views of each image in a batch, each made from the one before it.")
    consistency: Literal["kl", "js", "angle"] = Field(
        "kl", description="What holds views together: kl (first view teaches), js (symmetric), angle of embeddings."
    )
    weight: float = Field(1.0, ge=0, description="Of that term.")
    probability: float = Field(0.5, ge=0, le=1, description="That each part of a harder view happens to an image.")
    noise: float = Field(0.2, ge=0, lt=1, description="Largest change of the factor on all samples.")
    brightness: float = Field(0.025, ge=0, le=1, description="Largest shift.")
    contrast: float = Field(0.025, ge=0, lt=1, description="Largest change of the factor around the mean.")
    detail: float = Field(0.9, gt=0, le=1, description="Factor on the resolution.")
    sharpen: float = Field(0.5, ge=0, le=5, description="How much of what a blur takes away is added.")
    rotation: float = Field(25.0, ge=0, le=180, description="Degrees.")


class Ramp(_Settings):
    """A linear rise from ``start`` to 1 between two shares of all steps."""

    start: float = Field(ge=0, le=1, description="Value before and at `begin`.")
    begin: float = Field(0.0, ge=0, le=1, description="Share of all steps.")
    end: float = Field(ge=0, le=1, description="Share of all steps; from here on the value is 1.")


class TrainingSettings(_Settings):
    """How long, with what optimizer, and the aids that small margin-softmax training needs."""

    epochs: int = Field(40, ge=1, le=100_000, description="Passes over the training images.")
    batch_size: int = Field(128, ge=2, le=1_000_000, description="Images per step.")
    images_per_class: int | None = Field(
        None,
        ge=2,
        le=100_000,
        description="Batches of batch_size // this classes with this many images each; none: shuffled.",
    )
    class_power: float = Field(
        1.0,
        ge=0,
        le=1,
        description="An epoch holds as many images of a class as its count to this power, by share; 0: of each alike.",
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="adamw, adam or sgd.")
    learning_rate: float = Field(4e-3, gt=0, description="The highest of the schedule.")
    weight_decay: float = Field(0.05, ge=0, description="On matrices and convolutions of encoder and neck only.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    schedule: Literal["one-cycle", "cosine", "plateau", "constant"] = Field(
        "one-cycle", description="one-cycle, cosine, plateau or constant."
    )
    warmup: float = Field(0.2, ge=0, lt=1, description="Share of the steps that one-cycle and cosine rise for.")
    plateau_patience: int = Field(
        2, ge=0, description="Epochs without a better validation loss before a cut to a tenth."
    )
    early_stopping: int | None = Field(None, ge=1, description="Patience in epochs; restores the best weights.")
    clip: float | None = Field(5.0, gt=0, description="Largest norm of the gradient.")
    freeze: Annotated[int, Field(ge=0)] | Literal["all", "auto"] | None = Field(
        None, description="First layers of the encoder that stay as they are; none: auto if pretrained, else 0."
    )
    head_epochs: int = Field(
        0, ge=0, description="Of the epochs, those at the start that train neck and head alone, on cached features."
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="Factor on the learning rate from a layer of the encoder to the one below."
    )
    cached_views: int = Field(
        1, ge=1, le=100, description="Views of each image whose features are cached, the first of them plain."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the features that the neck does not see in a step.")
    mixup: float = Field(
        0.0, ge=0, le=10, description="Blends of two images with shares from Beta(this, this), as of the loss; 0: none."
    )
    cutmix: float = Field(
        0.0, ge=0, le=10, description="A box of one image in another, its share from Beta(this, this); 0: none."
    )
    margin_ramp: Ramp | None = Ramp(start=0.0, begin=0.1, end=0.4)
    scale_ramp: Ramp | None = Ramp(start=0.15, begin=0.0, end=0.5)
    centers: Literal["spread", "random", "means"] = Field(
        "spread",
        description="Where class centers start; means: at those of their images, for thousands of classes and more.",
    )
    center_rate: float = Field(0.2, gt=0, description="Factor on the learning rate of the head.")
    auxiliary: float = Field(1.0, ge=0, description="Weight of a linear head on the encoder's features, decaying to 0.")
    auxiliary_until: float = Field(1.0, gt=0, le=1, description="Share of the steps after which it is 0.")
    bf16: bool = Field(False, description="Autocast encoder and neck to bfloat16.")
    channels_last: bool = Field(True, description="Memory format of images and weights.")
    deterministic: bool = Field(True, description="Same seed, same machine: same history.")
    seed: int = Field(0, ge=0, description="Of weights, batches and views.")
    tensorboard: bool = Field(False, description="Also write TensorBoard event files (extra: track).")


class LossSettings(_Settings):
    """The technique by name. ``options`` go before those that `steradian.losses.fitted_options` chooses."""

    name: str = Field("arcface", description="One of `steradian losses`.")
    options: dict[str, Any] = Field({}, description="Go before those that are fitted.")


class Recipe(_Settings):
    """One run."""

    data: DataSettings = DataSettings()
    encoder: str | None = Field(
        None, description="Of ours or of timm; none: small up to 64 px, else the packaged weights or resnet18."
    )
    weights: str | None = Field(
        None,
        description="Pretrained encoder: 'package' (extra: weights), 'hub', a file or a model folder; none: random.",
    )
    transfer_layers: int | None = Field(
        None, ge=0, description="Layers of the pretrained encoder that are taken, from the input; none: all."
    )
    stages: int = Field(0, ge=0, le=64, description="Last stages of a timm encoder whose averages join its features.")
    pooling: PoolingName = Field("average", description="Of the last map of a timm encoder: average, max or gem.")
    neck: NeckName = Field("auto", description="linear, bn, mlp (system A) or, for 'small', conv; auto: what fits.")
    mirrored: bool = Field(
        False, description="Embed an image and its mirror image and take the mean, in all that comes after training."
    )
    embedding_size: int = Field(64, ge=1, le=65536, description="Dimensions.")
    loss: LossSettings = LossSettings()
    views: ViewSettings | None = ViewSettings()
    progressive: ProgressiveSettings = ProgressiveSettings()
    training: TrainingSettings = TrainingSettings()

    def digest(self) -> str:
        """A hash that tells one recipe from another."""
        return sha256_of(self.model_dump_json().encode())

    def changed(self, **changes: Any) -> Recipe:
        """A checked copy in which dotted keys, such as ``{"training.epochs": 3}``, have new values."""
        content = self.model_dump()
        for key, value in changes.items():
            *parents, last = key.split(".")
            place: Any = content
            for parent in parents:
                if not isinstance(place, dict) or parent not in place:
                    raise UsageError(f"A recipe has no setting {key!r}. {did_you_mean(key, setting_names())}")
                place[parent] = place[parent] if place[parent] is not None else {}
                place = place[parent]
            if not isinstance(place, dict):
                raise UsageError(f"A recipe has no setting {key!r}. {did_you_mean(key, setting_names())}")
            place[last] = value
        return parse_recipe(content, "the settings")


def setting_names() -> list[str]:
    """Every dotted key of a recipe."""

    def keys(model: type[BaseModel], prefix: str) -> list[str]:
        found = []
        for name, item in model.model_fields.items():
            kinds = (item.annotation, *getattr(item.annotation, "__args__", ()))
            nested = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
            found += keys(nested, f"{prefix}{name}.") if nested is not None else [f"{prefix}{name}"]
        return found

    return keys(Recipe, "")


def parse_recipe(content: Any, where: str) -> Recipe:
    """A `Recipe` from plain values. Raises `UsageError` that names ``where``, the key and what was expected."""
    if not isinstance(content, dict):
        raise UsageError(f"{where}: a recipe is a mapping of settings, but this is a {type(content).__name__}.")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{where}: there is no setting {key!r}. {did_you_mean(key, setting_names())}") from error
        raise UsageError(f"{where}: {key}: {first['msg']}, but it is {first['input']!r}.") from error


def read_recipe(path: Path) -> Recipe:
    """Read a YAML recipe."""
    with explained("read", path):
        text = path.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error
    return parse_recipe(content if content is not None else {}, str(path))


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write all settings, defaults included."""
    write_text(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
