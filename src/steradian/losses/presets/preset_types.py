"""What a row of the table of published losses is.

A row of the softmax family names its dials and its settings; a row of the small classes names the class.
Option names are the parameters of the dials and of the classes, so a new dial brings its options with it.
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

HEAD_OPTIONS: dict[str, Any] = {"head": "auto", "sample_rate": None, "hard_share": None}
"""How embeddings meet the classes: of every row of the softmax family, and of no concern to a saved model."""


@dataclass(frozen=True)
class Preset(abc.ABC):
    """What every row says about itself.

    Attributes:
        formula: of the target logit or the loss, in plain text.
        sensible: the range in which its options make sense.
        advice: when to use it, and what to know.
        aliases: other names it goes by.
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
        """The options this name takes, with their defaults."""

    def build(self, num_classes: int, embedding_size: int, options: Mapping[str, Any]) -> nn.Module:
        """The loss, from a full or partial set of its options."""
        known = self.options()
        used = self.used(options)
        for option in options:
            if option not in known:
                hint = did_you_mean(option, known) if known else "It takes none."
                raise UsageError(f"The loss {self.name!r} has no option {option!r}. {hint}")
            if isinstance(options[option], Tensor) and option != "class_counts":
                raise InputError(f"{option} must be a plain value, not a tensor.")
            if option not in used:
                raise UsageError(f"{self.name!r} with variant={options['variant']!r} has no option {option!r}.")
        return self._build({"num_classes": num_classes, "embedding_size": embedding_size}, options)

    def used(self, options: Mapping[str, Any]) -> set[str]:
        """Names of the options that have an effect beside ``options``, which may choose a variant."""
        return set(self.options())

    @abc.abstractmethod
    def _build(self, sizes: Mapping[str, int], options: Mapping[str, Any]) -> nn.Module:
        """`build` with options that are known to exist."""


def parameters(factory: Factory) -> dict[str, Any]:
    """Names and defaults of what ``factory`` takes, without the sizes."""
    return {name: item.default for name, item in inspect.signature(factory).parameters.items() if name not in SIZES}


def made(factory: Factory, sizes: Mapping[str, int], chosen: Mapping[str, Any]) -> Any:
    """``factory`` with those of ``sizes`` and ``chosen`` that it takes."""
    names = inspect.signature(factory).parameters
    return factory(**{name: value for name, value in {**chosen, **sizes}.items() if name in names})


@dataclass(frozen=True)
class Variant:
    """One of several published forms under one name: its dials, and what it fixes of the module."""

    dials: Mapping[str, Factory] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MarginSoftmaxPreset(Preset):
    """A row of the softmax family.

    Attributes:
        dials: parameter of `MarginSoftmaxLoss` -> what makes it.
        defaults: where this name's numbers differ from those of its dials.
        settings: parameters of `MarginSoftmaxLoss` that may be chosen, with their defaults.
        variants: forms by the option ``variant``, the first being the default.
    """

    dials: Mapping[str, Factory] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        found: dict[str, Any] = {"variant": next(iter(self.variants))} if self.variants else {}
        for variant in reversed(tuple(self.variants.values())):
            found |= _taken(variant.dials)
        return {**found, **_taken(self.dials), **self.settings, **self.defaults, **HEAD_OPTIONS}

    def _build(self, sizes: Mapping[str, int], options: Mapping[str, Any]) -> MarginSoftmaxLoss:
        chosen = {**self.options(), **options}
        variant = self._variant(options)
        dials = {place: made(dial, sizes, chosen) for place, dial in {**self.dials, **variant.dials}.items()}
        settings = {name: chosen[name] for name in self.settings if name not in variant.fixed}
        head = {name: chosen[name] for name in HEAD_OPTIONS}
        given: dict[str, Any] = {**sizes, **dials, **settings, **variant.fixed, **head}
        return MarginSoftmaxLoss(**given)

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
        return {"variant", *_taken({**self.dials, **variant.dials}), *self.settings, *HEAD_OPTIONS} - set(variant.fixed)


def _taken(dials: Mapping[str, Factory]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for dial in dials.values():
        found |= parameters(dial)
    return found


@dataclass(frozen=True)
class ModulePreset(Preset):
    """A row for a small class of its own; one without class centers ignores the sizes."""

    module: Callable[..., nn.Module] = nn.Module

    @property
    def needs_sizes(self) -> bool:
        return any(size in inspect.signature(self.module).parameters for size in SIZES)

    def options(self) -> dict[str, Any]:
        return parameters(self.module)

    def _build(self, sizes: Mapping[str, int], options: Mapping[str, Any]) -> nn.Module:
        module: nn.Module = made(self.module, sizes, options)
        return module
