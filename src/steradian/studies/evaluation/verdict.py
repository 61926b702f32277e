"""Say what an evaluation means in one sentence, three percentages with their intervals, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steradian.metrics import wilson_interval
from steradian.percentages import between, percent
from steradian.studies.evaluation.inputs import flat

FEW_IMAGES = 200
"""With fewer test images the sentence says how to learn more."""


@dataclass(frozen=True)
class Headline:
    """A share of images or pairs with its 95 % interval.

    Attributes:
        label: what the share is of, in plain words.
        share, low, high: in 0..1.
        counted: what was counted.
        promised: what the model promises, in words; empty where it promises nothing.
    """

    label: str
    share: float
    low: float
    high: float
    counted: str
    promised: str = ""

    def row(self) -> tuple[str, str, str]:
        """Return label, percentage, and interval with what was counted."""
        promise = f"; promised: {self.promised}" if self.promised else ""
        return (
            self.label,
            percent(self.share),
            f"{between(self.low, self.high)} for more like these ({self.counted}{promise})",
        )


@dataclass(frozen=True)
class Verdict:
    """One sentence, at most three headlines, and a suggestion (empty where there is none)."""

    sentence: str
    headlines: tuple[Headline, ...]
    advice: str


def verdict_of(numbers: Mapping[str, Any]) -> Verdict:
    """Return the verdict on the numbers of an evaluation."""
    values = dict(flat(numbers))
    headlines = tuple(_headlines(numbers, values))[:3]
    return Verdict(_sentence(values, headlines), headlines, _advice(values))


def _headlines(numbers: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Headline]:
    images = f"{values.get('images', 0):,} test images"
    if "closed.accuracy" in values:
        low, high = values["closed.accuracy_interval"]
        yield Headline("named right", values["closed.accuracy"], low, high, images)
    promises = numbers.get("promises", {})
    if "0.95" in promises.get("sets", {}):
        one = promises["sets"]["0.95"]
        low, high = one["interval"]
        counted = f"{one['count']:,} test images, {one['size']:.1f} names in a list on average"
        yield Headline("the right name is on the list of candidates", one["kept"], low, high, counted, "95 %")
    if "new_classes" in numbers and numbers["new_classes"].get("images"):
        share, count = values["new_classes.model.identified"], numbers["new_classes"]["images"]
        untrained = percent(values["new_classes.untrained.identified"])
        interval = wilson_interval(share * count, count)
        counted = f"{count:,} images of kinds left out of training; the untrained encoder: {untrained}"
        yield Headline(
            "new things named right, where 1 % of strangers get a name", share, interval.low, interval.high, counted
        )
    if "verification.tar_at_far.1e-02" in values and "verification.tar_interval_at_far.1e-02" in values:
        pairs = f"{values['verification.genuine_pairs']:,} pairs of images of one thing"
        share, (low, high) = values["verification.tar_at_far.1e-02"], values["verification.tar_interval_at_far.1e-02"]
        label = "two images of one thing recognized as the same, where 1 % of other pairs are too"
        if share == share:
            yield Headline(label, share, low, high, pairs)
    if "retrieval.recall_at_1" in values and values["retrieval.queries"]:
        share, count = values["retrieval.recall_at_1"], values["retrieval.queries"]
        interval = wilson_interval(share * count, count)
        yield Headline(
            "the most similar other image is of the same kind", share, interval.low, interval.high, f"{count:,} images"
        )


def _sentence(values: Mapping[str, Any], headlines: tuple[Headline, ...]) -> str:
    if not headlines and "landmarks.gap" in values:
        queries, strangers = values["landmarks.queries"], values["landmarks.without_landmark"]
        return (
            f"GAP is {values['landmarks.gap']:.3f} over {queries:,} images, {strangers:,} of which show nothing known; "
            "it is 1 if every image is named right, with more confidence than any that shows nothing known."
        )
    if not headlines:
        return "These images do not suffice for a percentage with an interval: see all numbers."
    first = headlines[0]
    if first.label == "named right":
        count = int(values["images"])
        right = round(first.share * count)
        return (
            f"Of {count:,} test images the model names {right:,} right: {percent(first.share)}, and "
            f"{between(first.low, first.high)} of more such images."
        )
    return f"{first.label[0].upper()}{first.label[1:]}: {percent(first.share)} ({between(first.low, first.high)})."


def _advice(values: Mapping[str, Any]) -> str:
    count = values.get("images", 0)
    if count < FEW_IMAGES:
        return f"{count:,} test images are few. With four times as many, the intervals are half as wide."
    return ""
