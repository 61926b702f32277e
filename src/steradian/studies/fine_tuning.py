"""Tune the encoder, and keep that only where a hold-out of groups and one of classes say that it pays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steradian.data.pixels import Progress, no_progress
from steradian.data.splits import Splits
from steradian.models.encoders import layers_of
from steradian.models.low_rank import add_low_rank, merged_state
from steradian.models.staged import bare
from steradian.training.adaptation.adapt import Adaptation, adapt, answers_of
from steradian.training.adaptation.embedding import SLACK, UnseenFold, UnseenScore, Whitening, score_unseen
from steradian.training.adaptation.folds import class_folds, grouped_folds
from steradian.training.adaptation.groups import grouped
from steradian.training.adaptation.scatter import Floats
from steradian.training.adapted import adapt_plan, encoder_features, feature_sizes, fitted_on, install
from steradian.training.batches import Indices
from steradian.training.plan import TrainingPlan, make_plan
from steradian.training.recipe import Recipe
from steradian.training.resources import peak_memory_bytes
from steradian.training.run import OnBatch, TrainingResult
from steradian.training.run import train as follow

Tensors = dict[str, Tensor]

EPOCHS, HEAD_EPOCHS = 8, 2
"""Epochs of a tuning without a budget, and how many of them train only the classifier above the encoder."""

LAST = 2
"""Number of last layers of the encoder that "last layers" tunes."""

BLENDS = (0.5, 1.0)
"""Shares of the tuned weights in the mean of tuned and untrained ones (WiSE-FT, Wortsman et al. 2022)."""

LEAST_GAIN = 0.002
"""What a tuned encoder must gain in accuracy."""

BATCH = 32
"""Images of the batch whose time is measured."""


def tuning_recipe(recipe: Recipe, layers: int, tuned: int, epochs: int, size: int) -> Recipe:
    """Return the recipe that tunes the last ``tuned`` of the encoder's ``layers`` below a linear classifier."""
    return recipe.changed(
        **{
            "adapt": "train",
            "budget": None,
            "loss.name": "softmax",
            "neck": "none",
            "embedding_size": size,
            "training.epochs": epochs,
            "training.head_epochs": min(HEAD_EPOCHS, epochs - 1),
            "training.batch_size": BATCH,
            "training.learning_rate": 5e-4,
            "training.center_rate": 1.0,
            "training.layer_decay": 0.8,
            "training.auxiliary": 0.0,
            "training.margin_ramp": None,
            "training.scale_ramp": None,
            "training.freeze": layers - tuned,
        }
    )


@dataclass(frozen=True)
class Attempt:
    """One encoder and what it does for images whose group it did not see.

    Attributes:
        name: what was tuned.
        blend: share of the tuned weights.
        accuracy: of the adaptation on its features.
        minutes: of the tuning.
    """

    name: str
    blend: float
    accuracy: float
    minutes: float


@dataclass(frozen=True)
class FineTuning:
    """What was tried.

    Attributes:
        attempts: the frozen encoder first.
        epochs: of each tuning; 0 where nothing was tuned.
        verdict: a sentence on what was chosen and why.
        frozen, tuned: scores on classes that were left out, of the untrained features and of the winner; None where
            these were not compared.
    """

    attempts: tuple[Attempt, ...]
    epochs: int
    verdict: str
    frozen: UnseenScore | None = None
    tuned: UnseenScore | None = None


@dataclass(frozen=True)
class Candidate:
    """What is tuned: the last ``layers`` of the encoder, or with ``low_rank`` updates of its linear layers (LoRA)."""

    name: str
    layers: int
    low_rank: bool = False


def candidates_for(encoder: nn.Module) -> tuple[Candidate, ...]:
    """Return what is tuned of an encoder: its last layers and all layers, and for a vision transformer also LoRA."""
    from timm.models import VisionTransformer

    layers = max(layers_of(encoder).values()) + 1
    found = [Candidate("last layers", min(LAST, layers)), Candidate("all layers", layers)]
    if isinstance(bare(encoder), VisionTransformer):
        found.append(Candidate("low-rank updates", layers, low_rank=True))
    return tuple(found)


@dataclass
class _Tuner:
    """Tunes copies of one encoder on parts of one data set."""

    plan: TrainingPlan
    chosen: Indices
    groups: NDArray[np.int64]
    features: Floats
    untrained: Tensors
    on_batch: OnBatch | None
    progress: Progress

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.plan.data.pixels.labels[self.chosen]

    def tune(self, rows: Indices, candidate: Candidate, epochs: int) -> Tensors:
        """Return the encoder's weights after tuning them on the images at ``rows``."""
        none = np.zeros(0, dtype=np.intp)
        data = replace(self.plan.data, splits=Splits(self.chosen[rows], none, none, none))
        layers = max(layers_of(self.plan.model.encoder).values()) + 1
        size = feature_sizes(self.plan.model)[-1]
        plan = make_plan(tuning_recipe(self.plan.recipe, layers, candidate.layers, epochs, size), data)
        if candidate.low_rank:
            add_low_rank(bare(plan.model.encoder))
        model = follow(plan, on_batch=self.on_batch, progress=self.progress).model
        return merged_state(bare(model.encoder))

    def features_of(self, tuned: Tensors, blend: float) -> Floats:
        """Load the mean of tuned and untrained weights into the plan's encoder; return the features of all images."""
        mixed = {
            name: torch.lerp(tensor, tuned[name], blend) if tensor.is_floating_point() else tensor
            for name, tensor in self.untrained.items()
        }
        bare(self.plan.model.encoder).load_state_dict(mixed)
        return encoder_features(self.plan, self.chosen, self.progress).values

    def adapt(self, features: Floats, rows: Indices, whitening: Whitening | None = None) -> Adaptation:
        """Adapt to the images at ``rows``, with a given embedding or a chosen one."""
        names = self.groups.astype(str)
        return adapt(
            features[rows],
            self.labels[rows],
            len(self.plan.spec.classes),
            sizes=feature_sizes(self.plan.model),
            names=names[rows],
            whitening=whitening,
            seed=self.plan.recipe.training.seed,
        )


def fine_tune(
    plan: TrainingPlan,
    frozen: TrainingResult,
    budget: float | None = None,
    *,
    note: Callable[[str], None] = lambda text: None,
    on_batch: OnBatch | None = None,
    progress: Progress = no_progress,
) -> tuple[TrainingResult, FineTuning]:
    """Return ``frozen``, or the same adaptation on a tuned encoder where that is better, and what was tried.

    Last layers and all layers are tuned on the images of some groups, and an adaptation on their features is compared
    on the others. The winner is tuned again without some classes, and must not lose on these against the untrained
    encoder. Then it is tuned on all images. Calibration comes from the two hold-outs.

    Args:
        plan, frozen: of an adaptation to the frozen encoder.
        budget: minutes; None: `EPOCHS` for each.
        note: receives a sentence before each step.
    """
    found = frozen.features or encoder_features(plan, fitted_on(plan), progress)
    chosen = fitted_on(plan)[found.has(fitted_on(plan))]
    features = found.of(chosen)
    named = plan.data.groups
    groups = grouped(features[:, -feature_sizes(plan.model)[-1] :], None if named is None else named[chosen])
    untrained = {name: tensor.detach().clone() for name, tensor in bare(plan.model.encoder).state_dict().items()}
    tuner = _Tuner(plan, chosen, groups, features, untrained, on_batch, progress)
    folds, classes = grouped_folds(tuner.labels, groups, plan.recipe.training.seed), list(class_folds(tuner.labels, 0))
    if not folds or not classes:
        return frozen, FineTuning(
            (), 0, "No encoder was tuned: this takes four classes, and two groups in one of them."
        )
    candidates = candidates_for(plan.model.encoder)
    fitted, held = folds[0]
    seen, unseen = classes[0]
    epochs, left_out = _epochs(tuner, candidates, (len(fitted), len(seen), len(chosen)), budget)
    for line in left_out:
        note(line)
    if not epochs:
        return frozen, FineTuning((), 0, " ".join(left_out))
    attempts = [Attempt("frozen", 0.0, _accuracy(tuner, features, fitted, held), 0.0)]
    best: tuple[Attempt, Candidate, Tensors] | None = None
    for candidate in candidates:
        name = candidate.name
        if name not in epochs:
            continue
        started = time.monotonic()
        note(f"tuning {name}: {epochs[name]} epochs on {len(fitted)} images, {len(held)} are held out")
        weights = tuner.tune(fitted, candidate, epochs[name])
        minutes = (time.monotonic() - started) / 60
        for blend in BLENDS:
            accuracy = _accuracy(tuner, tuner.features_of(weights, blend), fitted, held)
            attempts.append(Attempt(name, blend, accuracy, minutes))
            if best is None or accuracy > best[0].accuracy:
                best = attempts[-1], candidate, weights
    tried = FineTuning(tuple(attempts), max(epochs.values()), "")
    if best is None or best[0].accuracy < attempts[0].accuracy + LEAST_GAIN:
        return _restored(tuner, frozen), replace(
            tried, verdict="The frozen encoder was kept: tuning gained too little."
        )
    winner, candidate, weights = best
    of_fold = tuner.features_of(weights, winner.blend)
    note(f"tuning {winner.name} without {len(np.unique(tuner.labels[unseen]))} classes")
    without = tuner.features_of(tuner.tune(seen, candidate, epochs[winner.name]), winner.blend)
    adapted = tuner.adapt(without, seen)
    # Cosines of two embeddings or kinds of classifiers cannot be compared: the final model has those of the hold-outs.
    whitening = adapted.embedding.whitening
    judge = tuner.adapt(of_fold, fitted, whitening)
    held_out = answers_of(judge, of_fold[held], tuner.labels[held])
    fold, scores = _unseen(tuner, adapted.neck(without[unseen]), unseen)
    tried = replace(tried, frozen=scores[0], tuned=scores[1])
    if any(getattr(scores[1], name) < getattr(scores[0], name) - SLACK for name in ("recall_at_1", "tar")):
        verdict = f"The frozen encoder was kept: tuning {winner.name} gains on trained classes, but loses on new ones."
        return _restored(tuner, frozen), replace(tried, verdict=verdict)
    note(f"tuning {winner.name} on all {len(chosen)} images")
    final = tuner.features_of(tuner.tune(np.arange(len(chosen)), candidate, epochs[winner.name]), winner.blend)
    adaptation = adapt_plan(plan, chosen, final, progress, whitening, judge.classification)
    adaptation = replace(
        adaptation,
        held_out=(held_out,),
        embedding=replace(
            adaptation.embedding, folds=(fold,), chosen=scores[1], untrained=scores[0], images=len(unseen)
        ),
    )
    verdict = f"Tuning {winner.name} was chosen, with {winner.blend:.0%} of the tuned weights."
    model = install(plan.model, adaptation)
    tuned = replace(frozen, model=model, adaptation=adaptation, features=None, peak_memory=peak_memory_bytes())
    return tuned, replace(tried, verdict=verdict)


def _restored(tuner: _Tuner, frozen: TrainingResult) -> TrainingResult:
    """Return the frozen result, with the untrained weights in the encoder that all attempts shared."""
    bare(tuner.plan.model.encoder).load_state_dict(tuner.untrained)
    return frozen


def _accuracy(tuner: _Tuner, features: Floats, fitted: Indices, held: Indices) -> float:
    adaptation = tuner.adapt(features, fitted)
    predicted = adaptation.head(adaptation.neck(features[held])).argmax(axis=1)
    return float((predicted == tuner.labels[held]).mean())


def _unseen(tuner: _Tuner, vectors: Floats, unseen: Indices) -> tuple[UnseenFold, tuple[UnseenScore, UnseenScore]]:
    """Return the embeddings of classes that were not tuned on, and scores of untrained features and of these."""
    labels, groups = tuner.labels[unseen], tuner.groups[unseen]
    base = score_unseen(tuner.features[unseen, -feature_sizes(tuner.plan.model)[-1] :], labels, groups)
    score = score_unseen(vectors, labels, groups)
    nothing = UnseenScore(0.0, 0.0, 0.0, 0.0)
    return UnseenFold(vectors, labels, groups), (base or nothing, score or nothing)


def _epochs(
    tuner: _Tuner, candidates: Sequence[Candidate], images: tuple[int, int, int], budget: float | None
) -> tuple[dict[str, int], list[str]]:
    """Return the epochs of each candidate that fit the budget, and a sentence for each that does not."""
    if budget is None:
        return dict.fromkeys([one.name for one in candidates], EPOCHS), []
    fitted, seen, everything = images
    left, sentences = 60.0 * budget, []
    epochs: dict[str, int] = {}
    for number, candidate in enumerate(candidates):
        name, seconds = candidate.name, _seconds_per_image(tuner, candidate.layers)
        # The winner is tuned three times: without the held-out groups, without some classes, and on all images.
        passes = fitted + seen + everything
        possible = int(left / (seconds * passes * (len(candidates) - number) / 1.5))
        if possible < 2:
            sentences.append(
                f"{name} were not tuned: two epochs take about {2 * seconds * passes / 60:.0f} of {budget:g} minutes."
            )
            continue
        epochs[name] = min(EPOCHS, possible)
        left -= seconds * fitted * epochs[name]
    return epochs, sentences


def _seconds_per_image(tuner: _Tuner, tuned: int) -> float:
    """Time one step on a batch: forward through the encoder, backward through its last ``tuned`` layers."""
    plan = tuner.plan
    encoder = bare(plan.model.encoder)
    layers = layers_of(encoder)
    top = max(layers.values()) + 1
    parameters: dict[str, Any] = dict(encoder.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(layers[name] >= top - tuned)
    _, pixels = next(plan.data.pixels.blocks(tuner.chosen[:BATCH], BATCH))
    samples = plan.model.prepare(torch.from_numpy(np.ascontiguousarray(pixels)))
    times = []
    try:
        for _ in range(2):
            started = time.perf_counter()
            encoder(samples).sum().backward()
            times.append(time.perf_counter() - started)
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
            parameter.grad = None
    return min(times) / len(samples)
