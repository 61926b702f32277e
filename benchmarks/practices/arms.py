"""The practices that the product has no setting for, each as one class that changes one thing of a training.

They are not part of the package: this file exists to learn which of them are worth building.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from steradian.models.recognizer import Recognizer
from steradian.training import TrainingData, TrainingPlan
from steradian.training.batches import Batch, Batches, Indices
from steradian.training.loop import fit
from steradian.training.muon import RATE
from steradian.training.run import make_stages, start
from steradian.training.state import TrainingState


class Practice:
    """The product's own training. A subclass changes the batches, or the state before the first step or at the end."""

    def batches(self, train: Batches, state: TrainingState, steps: int) -> Batches:
        return train

    def begin(self, state: TrainingState, plan: TrainingPlan) -> None:
        return None

    def end(self, state: TrainingState, train: Batches) -> None:
        return None


def trained(plan: TrainingPlan, practice: Practice) -> tuple[Recognizer, float]:
    """Train the model of ``plan`` with ``practice``; return it with the CPU seconds that this took."""
    began = time.process_time()
    state = start(plan)
    for group in state.optimizer.param_groups:
        # The same formula in one pass: half of the optimizer's time, and a tenth of a step, for nets so small.
        group["fused"] = True
    stages = tuple(
        replace(stage, train=practice.batches(stage.train, state, plan.steps), validation=None)
        for stage in make_stages(plan)
    )
    practice.begin(state, plan)
    fit(state, plan.recipe.training, stages)
    practice.end(state, stages[-1].train)
    return state.model.eval(), time.process_time() - began


class ScheduleFree(Practice):
    """AdamW without a schedule (Defazio et al. 2024), from the package schedulefree; recipe: a constant rate."""

    WARMUP = 0.1
    """Share of the steps in which the rate rises."""

    def begin(self, state: TrainingState, plan: TrainingPlan) -> None:
        from schedulefree import AdamWScheduleFree

        groups = [
            {name: group[name] for name in ("params", "weight_decay", "factor")}
            for group in state.optimizer.param_groups
        ]
        rate = plan.recipe.training.learning_rate
        optimizer: Any = AdamWScheduleFree(groups, lr=rate, warmup_steps=round(self.WARMUP * plan.steps))
        optimizer.train()
        state.optimizer = optimizer

    def end(self, state: TrainingState, train: Batches) -> None:
        """Put the mean weights in place, and compute the statistics of batch norm for them."""
        optimizer: Any = state.optimizer
        optimizer.eval()
        refresh_statistics(state.model, train)


@torch.no_grad()
def refresh_statistics(model: Recognizer, train: Batches) -> None:
    """Compute the running statistics of batch norm anew, as the mean over one epoch."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for batch in train.epoch(0, views=False):
        model(train.images(batch))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


@dataclass
class MuonRate(Practice):
    """Muon for filters, with the learning rate of AdamW times ``factor``; recipe: ``training.optimizer: muon``."""

    factor: float

    def begin(self, state: TrainingState, plan: TrainingPlan) -> None:
        if state.muon is None:
            raise ValueError("expected training.optimizer=muon")
        for group in state.muon.param_groups:
            group["factor"] *= self.factor / RATE


@dataclass(frozen=True)
class GrowingBatches(Batches):
    """Batches whose images are ``small`` pixels wide in the first ``small_steps`` steps."""

    small: int = 20
    small_steps: int = 0

    def images(self, batch: Batch) -> Tensor:
        images = super().images(batch)
        if batch.step is None or batch.step >= self.small_steps:
            return images
        shrunk = functional.interpolate(images, size=(self.small, self.small), mode="bilinear", antialias=True)
        return shrunk.contiguous(memory_format=self.memory_format)


@dataclass
class Growing(Practice):
    """Images that grow: ``small`` pixels in the first ``share`` of the steps, then the full size."""

    small: int = 20
    share: float = 0.6

    def batches(self, train: Batches, state: TrainingState, steps: int) -> Batches:
        return GrowingBatches(**vars(train), small=self.small, small_steps=round(self.share * steps))


@dataclass
class MixStyle(Practice):
    """MixStyle (Zhou et al. 2021) after the first ``layers`` convolutions of "small".

    In half of the steps, mean and deviation of each channel are blended with those of another image of the batch.
    """

    layers: int
    alpha: float = 0.1
    probability: float = 0.5
    handles: list[Any] = field(default_factory=list)

    def begin(self, state: TrainingState, plan: TrainingPlan) -> None:
        generator = np.random.default_rng([plan.recipe.training.seed, 11])

        def mix(module: nn.Module, _: Any, maps: Tensor) -> Tensor:
            if not module.training or generator.random() >= self.probability:
                return maps
            shares = torch.from_numpy(generator.beta(self.alpha, self.alpha, len(maps))).to(maps)[:, None, None, None]
            partner = torch.from_numpy(generator.permutation(len(maps)))
            mean = maps.detach().mean(dim=(2, 3), keepdim=True)
            deviation = (maps.detach().var(dim=(2, 3), keepdim=True) + 1e-6).sqrt()
            mixed_mean = shares * mean + (1.0 - shares) * mean[partner]
            mixed_deviation = shares * deviation + (1.0 - shares) * deviation[partner]
            return (maps - mean) / deviation * mixed_deviation + mixed_mean

        modules: Any = state.model.encoder.layers
        # Convolution, batch norm and ReLU are three modules.
        self.handles = [modules[3 * layer + 2].register_forward_hook(mix) for layer in range(self.layers)]

    def end(self, state: TrainingState, train: Batches) -> None:
        for handle in self.handles:
            handle.remove()


@dataclass(frozen=True)
class HardClassBatches(Batches):
    """Batches of which one half are images of the ``near`` classes around a random class, by the present centers."""

    near: int = 4
    centers: Tensor | None = None

    def _drawn(self, epoch: int) -> list[Indices]:
        if self.centers is None:
            raise ValueError("centers are needed")
        generator = np.random.default_rng([self.seed, epoch, 12])
        directions = functional.normalize(self.centers.detach().float(), dim=1)
        nearest = (directions @ directions.T).topk(min(self.near, len(directions)), dim=1).indices.numpy()
        labels = self.pixels.labels[self.indices]
        drawn = []
        for batch in super()._drawn(epoch):
            half = len(batch) // 2
            pool = np.flatnonzero(np.isin(labels, nearest[generator.integers(len(nearest))]))
            hard = generator.choice(pool, half, replace=len(pool) < half)
            drawn.append(np.concatenate([batch[half:], hard]))
        return drawn


@dataclass
class HardClasses(Practice):
    """Half of each batch from classes that are near each other, found anew in each epoch."""

    near: int

    def batches(self, train: Batches, state: TrainingState, steps: int) -> Batches:
        return HardClassBatches(**vars(train), near=self.near, centers=state.model.head.weight)


@torch.no_grad()
def ensemble(models: Sequence[Recognizer], images: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the mean of the probabilities [N, C] that ``models`` give to preprocessed ``images``."""
    answers = [functional.softmax(model.logits(model(images).float()) / temperature, dim=1) for model in models]
    return torch.stack(answers).mean(dim=0)


@dataclass
class Distilled(Practice):
    """Learn the probabilities of ``teachers`` for the same views beside the labels (Hinton et al. 2015)."""

    teachers: Sequence[Recognizer]
    weight: float
    temperature: float = 2.0
    handles: list[Any] = field(default_factory=list)

    def begin(self, state: TrainingState, plan: TrainingPlan) -> None:
        model, seen = state.model, {}
        half_precision = plan.recipe.training.bf16

        def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen["images"] = inputs[0]

        def add(module: nn.Module, inputs: tuple[Tensor, Tensor], loss: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=half_precision):
                targets = ensemble(self.teachers, seen["images"], self.temperature)
            answers = functional.log_softmax(model.head.logits(inputs[0]) / self.temperature, dim=1)
            divergence = functional.kl_div(answers, targets, reduction="batchmean")
            return loss + self.weight * self.temperature**2 * divergence

        self.handles = [model.encoder.register_forward_pre_hook(keep), model.head.register_forward_hook(add)]

    def end(self, state: TrainingState, train: Batches) -> None:
        for handle in self.handles:
            handle.remove()


def with_wrong_labels(data: TrainingData, share: float, seed: int) -> TrainingData:
    """Give ``share`` of the training images the label of another class, drawn by ``seed``."""
    generator = np.random.default_rng([seed, 13])
    train = data.splits.train
    wrong = generator.permutation(train)[: round(share * len(train))]
    labels = data.pixels.labels.copy()
    count = len(data.pixels.classes)
    labels[wrong] = (labels[wrong] + generator.integers(1, count, len(wrong))) % count
    return replace(data, pixels=replace(data.pixels, labels=labels))


def without_farthest(
    data: TrainingData, model: Recognizer, embeddings: NDArray[np.float32], share: float
) -> TrainingData:
    """Leave out the ``share`` of the training images that are farthest from their class (Deng et al. 2020).

    The class is its sub-center that is nearest to most of its images, as many wrong labels gather around the others.

    Args:
        embeddings: raw embeddings of the training images by ``model``.
    """
    labels = data.pixels.labels[data.splits.train]
    count = len(data.pixels.classes)
    centers = functional.normalize(model.head.weight.detach(), dim=1).numpy().reshape(count, -1, embeddings.shape[1])
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = np.einsum("nd,nkd->nk", units, centers[labels])
    votes = np.zeros(centers.shape[:2])
    np.add.at(votes, (labels, cosines.argmax(axis=1)), 1.0)
    to_class = np.take_along_axis(cosines, votes.argmax(axis=1)[labels][:, None], axis=1)[:, 0]
    kept = np.sort(np.argsort(to_class)[round(share * len(labels)) :])
    return replace(data, splits=replace(data.splits, train=data.splits.train[kept]))
