"""The recipe: everything needed to repeat a run, as typed settings that are one YAML file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from steradian.errors import UsageError, did_you_mean
from steradian.files import explained, sha256_of, write_text
from steradian.finding.finders import WHOLE
from steradian.models.necks import NeckName
from steradian.models.pooling import PoolingName


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Settings):
    """Images, their size and how they are split."""

    source: str = Field("digits", description="Built-in name, folder, .zip, .tar, .npz, .csv or .parquet.")
    root: str | None = Field(None, description="Where the files of a built-in set are.")
    image_size: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="Pixels per side; none: native size, at most 64, or the size of the pretrained weights.",
    )
    validation: float = Field(0.1, ge=0, lt=1, description="Share of the training images held out for validation.")
    calibration: float = Field(
        0.1, ge=0, lt=1, description="Share of the rest held out only to fit probabilities and thresholds."
    )
    test: float = Field(
        0.2, ge=0, lt=1, description="Share of each class held out for the test, if the source has no test part."
    )
    unseen: Annotated[float, Field(ge=0, lt=1)] | list[str] = Field(
        0.0, description="Classes held out to test verification: a share, or names and patterns such as Greek/*."
    )
    min_images: int = Field(1, ge=1, description="Classes with fewer images are left out.")
    group_by: str | None = Field(
        None,
        description="Regular expression: images whose names have the same match (its first group, if it has one) stay "
        "in the same part; none: the column 'group' of the table, if there is one.",
    )
    quarter_turns: bool = Field(
        False, description="Also train on each class rotated by 90, 180 and 270 degrees, as three more classes."
    )
    split_seed: int = Field(0, ge=0, description="Seed of the random split; the same for all techniques and seeds.")
    skip_missing: bool = Field(
        False, description="Leave out rows of a table that name files that do not exist; otherwise they are an error."
    )
    decoded_gib: float | None = Field(
        None,
        ge=0,
        description="Most memory for images that are decoded once; larger sets are read from their files in every "
        "epoch. None: 4 GiB, and at most a quarter of the memory.",
    )
    finder: str = Field(
        WHOLE,
        description="What is cut out of every picture before training and later: 'faces', 'center', or a finder of an "
        "installed package; whole: nothing.",
    )
    workers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="Processes that read the images of such a set; 0: the main process; none: by the machine. The "
        "result does not depend on it.",
    )


class ViewSettings(_Settings):
    """Random views of the training images; see `steradian.data.RandomView`."""

    rotation: float = Field(10.0, ge=0, le=180, description="Largest rotation in degrees.")
    scale: float = Field(0.1, ge=0, lt=1, description="Largest relative change of size.")
    shear: float = Field(0.15, ge=0, lt=1, description="Tangent of the largest shear angle.")
    shift: float = Field(0.07, ge=0, lt=1, description="Largest shift as a share of the side.")
    elastic: float = Field(0.0, ge=0, le=0.5, description="Standard deviation of bends, as a share of the side.")
    thicker: float = Field(0.0, ge=0, le=1, description="Probability of making dark strokes a pixel thicker.")
    operations: int = Field(0, ge=0, le=14, description="RandAugment: operations on each image; 0: none.")
    magnitude: int = Field(9, ge=0, le=30, description="Magnitude of those operations.")
    erasing: float = Field(0.0, ge=0, le=1, description="Probability that a rectangle is erased.")
    crop: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Smallest area of a random crop of the original picture, as a share of it; 1: no random crops.",
    )
    color: float = Field(0.0, ge=0, le=1, description="Largest relative change of brightness, contrast and saturation.")
    flip: float | None = Field(None, ge=0, le=1, description="Flip probability; none: 0.5 for RGB, 0 for gray.")
    until: float = Field(
        0.9, ge=0, le=1, description="Share of the steps that use views; the rest train on the originals."
    )


class ProgressiveSettings(_Settings):
    """Several views of each image in a batch, each harder than the one before; see `steradian.data.progressive`."""

    views: int = Field(1, ge=1, le=16, description="Views of each image in a batch, each made from the one before it.")
    consistency: Literal["kl", "js", "angle"] = Field(
        "kl", description="Consistency loss: kl (first view is the teacher), js (symmetric) or angle (of embeddings)."
    )
    weight: float = Field(1.0, ge=0, description="Weight of the consistency loss.")
    probability: float = Field(0.5, ge=0, le=1, description="Probability of each operation of a harder view.")
    noise: float = Field(0.2, ge=0, lt=1, description="Largest relative change of all samples of an image.")
    brightness: float = Field(0.025, ge=0, le=1, description="Largest shift of all samples of an image.")
    contrast: float = Field(0.025, ge=0, lt=1, description="Largest relative change of the contrast.")
    detail: float = Field(0.9, gt=0, le=1, description="Factor on the resolution.")
    sharpen: float = Field(0.5, ge=0, le=5, description="Strength of the sharpening (unsharp masking).")
    rotation: float = Field(25.0, ge=0, le=180, description="Largest rotation in degrees.")


class Ramp(_Settings):
    """A linear rise from ``start`` to 1 between two shares of all steps."""

    start: float = Field(ge=0, le=1, description="Value before and at `begin`.")
    begin: float = Field(0.0, ge=0, le=1, description="Share of all steps.")
    end: float = Field(ge=0, le=1, description="Share of all steps; from here on the value is 1.")


class TrainingSettings(_Settings):
    """Epochs, optimizer, schedule, and the aids that small margin-softmax training needs."""

    epochs: int = Field(40, ge=1, le=100_000, description="Passes over the training images.")
    batch_size: int = Field(128, ge=2, le=1_000_000, description="Images per step.")
    images_per_class: int | None = Field(
        None,
        ge=2,
        le=100_000,
        description="K images per class, in batches of batch_size // K classes; none: shuffled batches.",
    )
    class_power: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Sample classes in proportion to their count to this power; 0: all classes equally often.",
    )
    optimizer: Literal["adamw", "adam", "sgd", "muon"] = Field(
        "adamw",
        description="adamw, adam, sgd, or muon for filters and matrices of encoder and neck with adamw for the rest.",
    )
    learning_rate: float = Field(4e-3, gt=0, description="The peak of the schedule.")
    weight_decay: float = Field(0.05, ge=0, description="Only for matrices and convolutions of encoder and neck.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd.")
    schedule: Literal["one-cycle", "cosine", "plateau", "constant"] = Field(
        "one-cycle", description="one-cycle, cosine, plateau or constant."
    )
    warmup: float = Field(0.2, ge=0, lt=1, description="Share of the steps in which one-cycle and cosine rise.")
    plateau_patience: int = Field(
        2, ge=0, description="Epochs without a better validation loss before the rate drops to a tenth."
    )
    early_stopping: int | None = Field(None, ge=1, description="Patience in epochs; restores the best weights.")
    average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of a running mean of the weights, which is the trained model; none: no mean.",
    )
    clip: float | None = Field(5.0, gt=0, description="Largest norm of the gradient; none: no clipping.")
    freeze: Annotated[int, Field(ge=0)] | Literal["all", "auto"] | None = Field(
        None, description="First layers of the encoder to freeze; none: auto if pretrained, else 0."
    )
    keep_statistics: bool = Field(
        False,
        description="Let batch norm keep the statistics of the pretrained encoder, also in layers that learn; nothing "
        "in the encoder is dropped at random then.",
    )
    head_epochs: int = Field(
        0, ge=0, description="Number of first epochs that train only neck and head, on cached features."
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="Factor on the learning rate from each encoder layer to the one below."
    )
    cached_views: int = Field(
        1, ge=1, le=100, description="Views of each image whose features are cached; the first is the original image."
    )
    cached_maps: bool = Field(
        False,
        description="Cache the maps of the frozen layers of lite0 or lite2, of `cached_views` views, so that an epoch "
        "computes only the layers above.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate on the features before the neck.")
    mixup: float = Field(0.0, ge=0, le=10, description="Mixup alpha for Beta(alpha, alpha); 0 disables it.")
    cutmix: float = Field(0.0, ge=0, le=10, description="CutMix alpha for Beta(alpha, alpha); 0 disables it.")
    margin_ramp: Ramp | None = Ramp(start=0.0, begin=0.1, end=0.4)
    scale_ramp: Ramp | None = Ramp(start=0.15, begin=0.0, end=0.5)
    centers: Literal["spread", "random", "means"] = Field(
        "spread", description="Initial class centers; means: the class means, for thousands of classes and more."
    )
    center_rate: float = Field(0.2, gt=0, description="Factor on the learning rate of the head.")
    auxiliary: float = Field(1.0, ge=0, description="Weight of a linear head on the encoder's features; decays to 0.")
    auxiliary_until: float = Field(1.0, gt=0, le=1, description="Share of the steps after which that weight is 0.")
    images_at_once: int | None = Field(
        None,
        ge=1,
        description="Images that pass through the encoder together while it learns; a larger batch is divided, and its "
        "parts are computed a second time in the backward pass. None: chosen by the memory that the encoder needs.",
    )
    recompute: bool = Field(
        False, description="Keep the activations between the blocks of a timm encoder only: less memory, more time."
    )
    shard_encoder: bool = Field(
        False, description="Divide the encoder over the processes of torchrun, for one that does not fit (FSDP2)."
    )
    bf16: bool = Field(False, description="Autocast encoder and neck to bfloat16.")
    channels_last: bool = Field(True, description="Use the channels-last memory format.")
    deterministic: bool = Field(True, description="The same seed on the same machine gives the same history.")
    seed: int = Field(0, ge=0, description="Seed of weights, batches and views.")
    tensorboard: bool = Field(False, description="Also write TensorBoard event files (extra: track).")


class LossSettings(_Settings):
    """The loss by name. ``options`` override those that `steradian.losses.fitted_options` chooses."""

    name: str = Field("arcface", description="One of `steradian losses`.")
    options: dict[str, Any] = Field({}, description="Options that override the fitted ones.")


NO_EFFECT = ("decoded_gib", "workers")
"""Settings of ``data`` that decide how images are read; whether they are decoded at once is part of the data's hash."""

ADDED: tuple[tuple[str | None, str, Any], ...] = (
    (None, "budget", None),
    (None, "grid", 0),
    ("data", "skip_missing", False),
    ("data", "finder", WHOLE),
    ("views", "crop", 1.0),
    ("views", "color", 0.0),
    ("training", "images_at_once", None),
    ("training", "recompute", False),
    ("training", "shard_encoder", False),
    ("training", "average", None),
    ("training", "cached_maps", False),
    ("training", "keep_statistics", False),
)
"""Settings that later versions added: section, name, and the value that stands for what was done before."""


class Recipe(_Settings):
    """All settings of one run."""

    data: DataSettings = DataSettings()
    encoder: str | None = Field(
        None, description="One of steradian or timm, lite0 or lite2; none: by the images, see the page on photographs."
    )
    weights: str | None = Field(
        None,
        description="Pretrained weights: 'package' (lite0 or lite2), 'hub', a file or a model folder; none: random.",
    )
    adapt: Literal["auto", "full", "train"] | None = Field(
        None,
        description="auto: fit embedding and classifier on features of the pretrained encoder, in closed form, chosen "
        "by cross-validation; full: also tune the encoder, and keep that where it pays; train: learn them by the loss; "
        "none: auto where no setting of the training was changed.",
    )
    budget: float | None = Field(
        None, gt=0, description="Minutes for tuning the encoder; with a budget, adapt is full where it would be auto."
    )
    transfer_layers: int | None = Field(
        None, ge=0, description="Layers to load from the pretrained encoder, from the input; none: all."
    )
    stages: int = Field(0, ge=0, le=64, description="Last stages of a timm encoder whose averages join its features.")
    grid: int = Field(
        0,
        ge=0,
        le=16,
        description="Cells per side in which earlier stages are averaged, for pictures that are aligned, such as "
        "cut-out faces; 0: over the whole picture.",
    )
    pooling: PoolingName = Field("average", description="Pooling of a timm encoder: average, max or gem.")
    neck: NeckName = Field(
        "auto",
        description="linear, bn, mlp (system A), none (the features), affine (fitted in closed form) or, for 'small', "
        "conv; auto: by encoder.",
    )
    flip_tta: bool = Field(
        False,
        validation_alias=AliasChoices("flip_tta", "mirrored"),
        serialization_alias="mirrored",
        description="After training, average the embeddings of an image and its mirror image.",
    )
    embedding_size: int = Field(64, ge=1, le=65536, description="Dimensions of the embedding.")
    loss: LossSettings = LossSettings()
    views: ViewSettings | None = ViewSettings()
    progressive: ProgressiveSettings = ProgressiveSettings()
    training: TrainingSettings = TrainingSettings()

    def digest(self) -> str:
        """Return a hash of all settings that change results, by the names that the first checkpoints recorded.

        Settings that came later are part of it where they differ from what was done before there was a choice.
        """
        content = self.model_dump(mode="json", by_alias=True)
        for name in NO_EFFECT:
            del content["data"][name]
        for section, name, before in ADDED:
            holder = content if section is None else content[section]
            if holder is not None and holder[name] == before:
                del holder[name]
        if not self.adapts:
            content.pop("adapt", None)
            content.pop("budget", None)
        return sha256_of(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())

    @property
    def adapts(self) -> bool:
        """Whether embedding and classifier are fitted in closed form."""
        return self.adapt in ("auto", "full")

    def changed(self, **changes: Any) -> Recipe:
        """Return a validated copy with new values for dotted keys, such as ``{"training.epochs": 3}``."""
        content = self.model_dump()
        for key, value in changes.items():
            *parents, last = key.split(".")
            section: Any = content
            for parent in parents:
                if not isinstance(section, dict) or parent not in section:
                    raise UsageError(f"A recipe has no setting {key!r}. {did_you_mean(key, setting_names())}")
                section[parent] = section[parent] if section[parent] is not None else {}
                section = section[parent]
            if not isinstance(section, dict):
                raise UsageError(f"A recipe has no setting {key!r}. {did_you_mean(key, setting_names())}")
            section[last] = value
        return parse_recipe(content, "the settings")


def setting_names() -> list[str]:
    """Return every dotted key of a recipe."""

    def keys(model: type[BaseModel], prefix: str) -> list[str]:
        names = []
        for name, item in model.model_fields.items():
            kinds = (item.annotation, *getattr(item.annotation, "__args__", ()))
            nested = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
            names += keys(nested, f"{prefix}{name}.") if nested is not None else [f"{prefix}{name}"]
        return names

    return keys(Recipe, "")


def parse_recipe(content: Any, where: str) -> Recipe:
    """Build a `Recipe` from plain values. Raises `UsageError` that names ``where``, the key and what was expected."""
    if not isinstance(content, dict):
        raise UsageError(f"{where}: a recipe must be a mapping of settings, but this is a {type(content).__name__}.")
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
