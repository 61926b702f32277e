"""The training loop: plain torch, one function per step, resumable at any step."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from steradian.data.sampling import step_seed
from steradian.errors import InputError, TrainingError
from steradian.models.encoders import freeze_layers, pooled
from steradian.models.image_batch import images_at_once
from steradian.training import distributed
from steradian.training.activations import steady_statistics
from steradian.training.averaging import update_mean
from steradian.training.batches import Batch, Batches, Blend, Patch
from steradian.training.consistency import angle, divergence, symmetric_divergence
from steradian.training.recipe import TrainingSettings
from steradian.training.schedules import auxiliary_weight, ramp_value, rate_factor
from steradian.training.stages import Stage, stage_at, stage_progress
from steradian.training.state import TrainingState
from steradian.training.step_clock import StepClock

OnStep = Callable[[TrainingState, float], None]
OnEpoch = Callable[[TrainingState], None]


def _no_op(*_: object) -> None:
    return None


def fit(
    state: TrainingState,
    settings: TrainingSettings,
    stages: Sequence[Stage],
    *,
    on_step: OnStep = _no_op,
    on_epoch: OnEpoch = _no_op,
) -> None:
    """Train ``state``, new or restored from a checkpoint, from its current step to the end of the recipe.

    ``on_step`` is called after each step with the loss, ``on_epoch`` after each epoch. Raises `TrainingError` if loss
    or gradient is not finite, or a head parameter gets no gradient.
    """
    with _determinism(settings.deterministic):
        while state.epoch < settings.epochs and not _stopped_early(state, settings):
            _train_epoch(state, settings, stages, on_step)
            _finish_epoch(state, settings, stages)
            on_epoch(state)
    for weights in list(state.kept.values())[:1]:
        state.model.load_state_dict(weights)
    train = stages[-1].train
    _require_finite_embeddings(state, train)
    state.model.head.finish(lambda: embed_batches(state, settings, train))
    state.model.eval()


@contextlib.contextmanager
def _determinism(enabled: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(enabled, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _stopped_early(state: TrainingState, settings: TrainingSettings) -> bool:
    return settings.early_stopping is not None and state.plateau.waited >= settings.early_stopping


def _train_epoch(state: TrainingState, settings: TrainingSettings, stages: Sequence[Stage], on_step: OnStep) -> None:
    stage = stage_at(stages, state.epoch)
    train = stage.train
    state.model.train()
    freeze_layers(state.model.encoder, stage.frozen, keep_statistics=settings.keep_statistics)
    total = len(train) * settings.epochs
    full_epoch, started = state.step_in_epoch == 0, time.perf_counter()
    for batch in state.clock.waited(train.epoch(state.epoch, skip=state.step_in_epoch)):
        rate_progress = stage_progress(stages, state.epoch, state.step_in_epoch)
        if len(batch) < min(2, batch.count) and distributed.world_size() == 1:
            # Nearly all of its images are damaged, and batch norm needs two.
            loss = 0.0
        else:
            loss = train_step(state, settings, train, batch, state.step / total, rate_progress)
        state.step += 1
        state.step_in_epoch += 1
        state.loss_sum += loss
        on_step(state, loss)
    if full_epoch:
        state.seconds.append(time.perf_counter() - started)


def train_step(
    state: TrainingState,
    settings: TrainingSettings,
    train: Batches,
    batch: Batch,
    progress: float,
    rate_progress: float,
) -> float:
    """Take one optimizer step on ``batch``; return the loss of the head alone.

    Args:
        progress: share of all steps done, for margin and scale; ``rate_progress``: of this stage's, for the rate.
    """
    head = state.model.head
    head.start_step(ramp_value(settings.margin_ramp, progress), ramp_value(settings.scale_ramp, progress))
    rate = _learning_rate(state, settings, rate_progress)
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("factor", settings.center_rate)

    labels, views = train.labels(batch), train.views_of(batch)
    blend = _blend(settings, train, len(batch), state.step)
    features, embeddings = _embed(state, settings, train, batch, blend)
    state.clock.lap("encoder")
    if embeddings.requires_grad:
        on_gradient: Callable[[Callable[[Tensor], None]], object] = embeddings.register_hook
        on_gradient(lambda gradient: state.clock.lap("head"))
    try:
        # In a blend, each class gets its own margin, in its share of the loss.
        loss = _blended_loss(lambda targets: head(embeddings, targets), labels, blend)
    except InputError:
        if len(batch) == 0:
            raise
        # The loss names only rows; this error names the images.
        _require_finite(float(embeddings.detach().sum()), "embedding", state, train, batch, embeddings)
        raise
    value = float(loss.detach())
    objective = loss
    if views > 1:
        objective = objective + len(batch) / batch.count * _consistency_loss(state, embeddings, views)
    weight = auxiliary_weight(settings, progress) if state.auxiliary is not None else 0.0
    if state.auxiliary is not None and weight > 0 and len(batch):
        # The sum of these terms over all processes is the mean over the global batch.
        share = len(batch) / batch.count
        logits = state.auxiliary(pooled(features).float())
        auxiliary_loss = _blended_loss(lambda targets: functional.cross_entropy(logits, targets), labels, blend)
        objective = objective + weight * share * auxiliary_loss
    _require_finite(float(objective.detach()), "loss", state, train, batch, embeddings)
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    recomputes = settings.recompute or train.at_once is not None
    with steady_statistics(state.model.encoder) if recomputes else contextlib.nullcontext():
        torch.autograd.backward(objective)
    state.clock.lap("encoder")
    distributed.sum_gradients(parameter for parameter in state.replicated if parameter.requires_grad)
    if state.silent:
        _check_gradients(state)
    sharded = [parameter for name, parameter in state.named_parameters() if name in state.sharded]
    shared = [parameter for name, parameter in state.named_parameters() if name not in state.sharded]
    norm = distributed.clip_gradients(shared, sharded, settings.clip)
    _require_finite(norm, "gradient's norm", state, train, batch, embeddings)
    for optimizer in state.optimizers:
        optimizer.step()
    if settings.average is not None:
        state.mean = update_mean(state.mean, state.model.state_dict(), state.step, settings.average)
    return value


def _blend(settings: TrainingSettings, train: Batches, count: int, step: int) -> Blend | None:
    """Return how images are blended at ``step``, or None."""
    seed = step_seed(settings.seed, step)
    if settings.cutmix > 0:
        return Patch.cut(settings.cutmix, count, train.preprocessing.size, seed)
    return Blend.drawn(settings.mixup, count, seed) if settings.mixup > 0 else None


def _consistency_loss(state: TrainingState, embeddings: Tensor, views: int) -> Tensor:
    """Compute the weighted consistency loss of ``views`` views of each image."""
    settings = state.progressive
    if settings.consistency == "angle":
        return settings.weight * angle(embeddings, views)
    measure = divergence if settings.consistency == "kl" else symmetric_divergence
    return settings.weight * measure(state.model.head.logits(embeddings), views)


def _blended_loss(loss: Callable[[Tensor], Tensor], labels: Tensor, blend: Blend | None) -> Tensor:
    """Compute ``loss`` for the labels; for blends, the mean for both labels, weighted by their shares."""
    if blend is None:
        return loss(labels)
    return blend.share * loss(labels) + (1.0 - blend.share) * loss(labels[blend.partner.to(labels.device)])


def _embed(
    state: TrainingState,
    settings: TrainingSettings,
    train: Batches,
    batch: Batch,
    blend: Blend | None,
) -> tuple[Tensor, Tensor]:
    """Compute features and raw embeddings of ``batch``; both are [0, D] if this process has none."""
    model = state.model
    if len(batch) == 0:
        nothing = train.none(model)
        return nothing, nothing if nothing.requires_grad else nothing.requires_grad_()
    with _autocast(settings, train.device):
        inputs = train.inputs(batch, blend)
        state.clock.lap("views")
        features = train.encode(model, inputs)
        neck_input = functional.dropout(features, settings.dropout) if settings.dropout > 0 else features
        return features, model.neck(neck_input)


def _learning_rate(state: TrainingState, settings: TrainingSettings, rate_progress: float) -> float:
    return settings.learning_rate * rate_factor(settings, rate_progress) * float(0.1**state.plateau.cuts)


def _autocast(settings: TrainingSettings, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.bf16)


def _require_finite(
    value: float, what: str, state: TrainingState, train: Batches, batch: Batch, embeddings: Tensor
) -> None:
    if math.isfinite(value):
        return
    head = state.model.head
    is_logit = head.has_class_logits and state.center_optimizer is None
    with torch.no_grad():
        values = state.model.head.logits(embeddings) if is_logit else embeddings
    largest = float(values.abs().nan_to_num(nan=0.0, posinf=0.0).max()) if len(values) else float("nan")
    names = [train.pixels.names[int(index)] for index in batch.rows]
    listed = "\n".join(f"  {name}" for name in names[:10])
    more = f"\n  and {len(names) - 10} more" if len(names) > 10 else ""
    raise TrainingError(
        f"The {what} is {value} at step {state.step} (epoch {state.epoch + 1}); training stopped before the weights "
        f"were updated. Largest {'logit' if is_logit else 'embedding value'}: {largest:.4g}. "
        f"Lower the learning rate or the scale, or set training.clip. The batch:\n{listed}{more}"
    )


@torch.no_grad()
def _require_finite_embeddings(state: TrainingState, train: Batches) -> None:
    state.model.eval()
    rows = train.indices[: images_at_once(train.preprocessing.size)]
    few = next(replace(train, indices=rows).in_order(whole=True))
    if not torch.isfinite(state.model(train.images(few))).all():
        raise TrainingError(
            "Training diverged: the trained model gives embeddings that are not finite. Lower the learning rate (--lr)."
        )


def _check_gradients(state: TrainingState) -> None:
    """Remove head parameters that got a gradient from ``state.silent``; raise if one has no gradient at all."""
    for name, parameter in state.model.head.named_parameters():
        if name in state.silent:
            if parameter.grad is None:
                raise _no_gradient(name)
            if bool(parameter.grad.any()) or parameter.numel() == 0:
                state.silent.discard(name)


def _no_gradient(name: str) -> TrainingError:
    return TrainingError(
        f"The head's parameter {name!r} receives no gradient, so it would never learn. "
        "Does the loss use it, and does it require a gradient?"
    )


def _finish_epoch(state: TrainingState, settings: TrainingSettings, stages: Sequence[Stage]) -> None:
    stage = stage_at(stages, state.epoch)
    steps, validation = len(stage.train), stage.validation
    if state.silent:
        raise _no_gradient(min(state.silent))
    progress = (state.step - 1) / (steps * settings.epochs)
    row: dict[str, Any] = {
        "epoch": state.epoch + 1,
        "step": state.step,
        "train_loss": state.loss_sum / steps,
        "validation_loss": None,
        "validation_accuracy": None,
        "learning_rate": _learning_rate(state, settings, stage_progress(stages, state.epoch, steps - 1)),
        "margin_strength": ramp_value(settings.margin_ramp, progress),
        "scale_strength": ramp_value(settings.scale_ramp, progress),
    }
    distributed.average_buffers(state.model.encoder, state.model.neck)
    if validation is not None and len(validation):
        row["validation_loss"], row["validation_accuracy"] = validate(state, settings, validation)
        if state.plateau.see(row["validation_loss"]) and settings.early_stopping is not None:
            state.best = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
        if settings.schedule == "plateau":
            state.plateau.cut_if_waited(settings.plateau_patience)
    state.history.append(row)
    state.speeds.append(
        {"images_per_second": round(state.clock.images_per_second, 1), "waiting": round(state.clock.waiting_share, 3)}
    )
    state.spent.add(state.clock)
    state.clock = StepClock()
    state.epoch += 1
    state.step_in_epoch = 0
    state.loss_sum = 0.0


@torch.no_grad()
def embed_batches(state: TrainingState, settings: TrainingSettings, batches: Batches) -> tuple[Tensor, Tensor]:
    """Return raw embeddings [N, D] and labels [N] of all images, in order, in eval mode."""
    state.model.eval()
    parts, labels = [], []
    for batch in batches.in_order(whole=True):
        parts.append(_raw(state, settings, batches, batch))
        labels.append(batches.labels(batch))
    return torch.cat(parts), torch.cat(labels)


@torch.no_grad()
def validate(state: TrainingState, settings: TrainingSettings, validation: Batches) -> tuple[float, float | None]:
    """Return the margin-free loss and the accuracy; None for a head that does not classify while it trains."""
    state.model.eval()
    loss_sum, num_correct, count = 0.0, 0.0, 0
    batch_losses: list[Tensor] = []
    for batch in validation.in_order():
        raw = _raw(state, settings, validation, batch)
        row_losses, correct = state.model.head.evaluate(raw, validation.labels(batch))
        if correct is None:
            batch_losses.append(row_losses)
            continue
        loss_sum += float(row_losses.sum())
        num_correct += float(correct.sum())
        count += len(batch)
    if batch_losses:
        return float(torch.cat(batch_losses).mean()), None
    loss_sum, num_correct, total = distributed.total([loss_sum, num_correct, float(count)])
    return loss_sum / total, num_correct / total


def embed_batch(state: TrainingState, batches: Batches, batch: Batch) -> Tensor:
    """Return raw embeddings float32 [N, D] of ``batch`` in full precision, in the model's mode."""
    if len(batch) == 0:
        return batches.none(state.model)
    raw: Tensor = state.model.neck(batches.encode(state.model, batches.inputs(batch))).float()
    return raw


def _raw(state: TrainingState, settings: TrainingSettings, batches: Batches, batch: Batch) -> Tensor:
    with _autocast(settings, batches.device):
        return embed_batch(state, batches, batch)
