"""Preset types: the entries of the table of published losses.

A preset of the softmax family names its dials and settings; a preset of any other loss names its class.
Option names are the parameters of the dials and classes, so a new dial adds its options automatically.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from steradian.errors import InputError, UsageError, did_you_mean
from steradian.losses.margin_softmax import MarginSoftmaxLoss
from steradian.losses.ranges import one_of

Factory = Callable[..., Any]
SIZES = ("num_classes", "embedding_size")

COMMON = {"gradient": "exact", "subcenters": 1, "label_smoothing": 0.0}
"""Settings that most margin presets share."""

HEAD_OPTIONS: dict[str, Any] = {"head": "auto", "sample_rate": None, "hard_share": None}
"""Options of every softmax preset that select how logits are computed in training; not saved with a model."""


@dataclass(frozen=True)
class Preset(abc.ABC):
    """The description of one published loss.

    Attributes:
        formula: formula of the target logit or the loss, in plain text.
        sensible: recommended ranges of its options.
        advice: when to use it, and what to know.
        aliases: other names of the loss.
    """

    name: str
    formula: str
    paper: str
    year: int
    sensible: str
    advice: str
    aliases: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def needs_sizes(self) -> bool:
        """Whether the loss has class centers, so that it needs the number of classes and dimensions."""
        return True

    @abc.abstractmethod
    def options(self) -> dict[str, Any]:
        """Return the options of this loss with their defaults."""

    def build(self, num_classes: int, embedding_size: int, options: Mapping[str, Any]) -> nn.Module:
        """Create the loss from all or some of its options."""
        known = self.options()
        used = self.used(options)
        for option in options:
            if option not in known:
                hint = did_you_mean(option, known) if known else "It has no options."
                raise UsageError(f"The loss {self.name!r} has no option {option!r}. {hint}")
            if isinstance(options[option], Tensor) and option != "class_counts":
                raise InputError(f"{option} must be a plain Python value, but is a tensor. Use .item() or .tolist().")
            if option not in used:
                raise UsageError(f"{self.name!r} with variant={options['variant']!r} has no option {option!r}.")
        return self._build({"num_classes": num_classes, "embedding_size": embedding_size}, options)

    def used(self, options: Mapping[str, Any]) -> set[str]:
        """Return the names of options that have an effect, given ``options``, which may select a variant."""
        return set(self.options())

    @abc.abstractmethod
    def _build(self, sizes: Mapping[str, int], options: Mapping[str, Any]) -> nn.Module:
        """Create the loss from options that have been checked."""


def parameters(factory: Factory) -> dict[str, Any]:
    """Return names and defaults of the parameters of ``factory``, without the sizes."""
    return {name: item.default for name, item in inspect.signature(factory).parameters.items() if name not in SIZES}


def made(factory: Factory, sizes: Mapping[str, int], chosen: Mapping[str, Any]) -> Any:
    """Call ``factory`` with those of ``sizes`` and ``chosen`` that it accepts."""
    names = inspect.signature(factory).parameters
    return factory(**{name: value for name, value in {**chosen, **sizes}.items() if name in names})


@dataclass(frozen=True)
class Variant:
    """One of several published forms of a loss: its dials, and the parameters of the module that it fixes."""

    dials: Mapping[str, Factory] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MarginSoftmaxPreset(Preset):
    """A preset of the softmax family.

    Attributes:
        dials: parameter of `MarginSoftmaxLoss` -> factory of its value.
        defaults: defaults of this loss that differ from those of its dials.
        settings: parameters of `MarginSoftmaxLoss` that the user may set, with their defaults; `COMMON` at scale 64.
        variants: value of the option ``variant`` -> variant; the first is the default.
    """

    dials: Mapping[str, Factory] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=lambda: {"scale": 64.0, **COMMON})
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"variant": next(iter(self.variants))} if self.variants else {}
        for variant in reversed(tuple(self.variants.values())):
            options |= _dial_options(variant.dials)
        return {**options, **_dial_options(self.dials), **self.settings, **self.defaults, **HEAD_OPTIONS}

    def _build(self, sizes: Mapping[str, int], options: Mapping[str, Any]) -> MarginSoftmaxLoss:
        chosen = {**self.options(), **options}
        variant = self._variant(options)
        dials = {parameter: made(dial, sizes, chosen) for parameter, dial in {**self.dials, **variant.dials}.items()}
        settings = {name: chosen[name] for name in self.settings if name not in variant.fixed}
        head = {name: chosen[name] for name in HEAD_OPTIONS}
        arguments: dict[str, Any] = {**sizes, **dials, **settings, **variant.fixed, **head}
        return MarginSoftmaxLoss(**arguments)

    def _variant(self, options: Mapping[str, Any]) -> Variant:
        if not self.variants:
            return Variant()
        name = options.get("variant", next(iter(self.variants)))
        one_of("variant", name, tuple(self.variants))
        return self.variants[name]

    def used(self, options: Mapping[str, Any]) -> set[str]:
        if not self.variants:
            return set(self.options())
        variant = self._variant(options)
        used = {"variant", *_dial_options({**self.dials, **variant.dials}), *self.settings, *HEAD_OPTIONS}
        return used - set(variant.fixed)


def _dial_options(dials: Mapping[str, Factory]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for dial in dials.values():
        options |= parameters(dial)
    return options


@dataclass(frozen=True)
class ModulePreset(Preset):
    """A preset of a loss with its own class; a loss without class centers ignores the sizes."""

    module: Callable[..., nn.Module] = nn.Module

    @property
    def needs_sizes(self) -> bool:
        return any(size in inspect.signature(self.module).parameters for size in SIZES)

    def options(self) -> dict[str, Any]:
        return parameters(self.module)

    def _build(self, sizes: Mapping[str, int], options: Mapping[str, Any]) -> nn.Module:
        module: nn.Module = made(self.module, sizes, options)
        return module
