"""The verdict of a comparison: every technique is judged against the best one, whatever its dimensions."""

from __future__ import annotations

import numpy as np

from steradian.plots.report import Report, Section
from steradian.studies.comparison.cells import CellResult, CellSpec
from steradian.studies.comparison.result import Comparison, ComparisonResult
from steradian.studies.comparison.verdict import ranked, verdict_of
from steradian.training import Recipe

IMAGES = 400


def cell(loss: str, dims: int, right: int) -> CellResult:
    """A cell with one seed, whose first ``right`` test images are named right."""
    recipe = Recipe()
    hits = np.arange(IMAGES) < right
    nothing = np.zeros(IMAGES, dtype=np.int64)
    numbers = {"closed": {"accuracy": right / IMAGES}, "cost": {"seconds_per_epoch": 1.0}}
    raw, centers = np.ones((IMAGES, dims), np.float32), np.ones((2, dims), np.float32)
    spec = CellSpec(loss, dims, 0, recipe)
    return CellResult(spec, {}, numbers, [], raw, nothing, nothing, centers, {"closed.accuracy": hits})


def test_techniques_of_other_dimensions_are_judged_too() -> None:
    comparison = Comparison(Recipe(), ("softmax", "arcface"), (2, 3), 1)
    counts = {("softmax", 2): 300, ("arcface", 2): 296, ("softmax", 3): 380, ("arcface", 3): 379}
    cells = tuple(cell(loss, dims, right) for (loss, dims), right in counts.items())
    result = ComparisonResult(comparison, ("a", "b"), cells, {}, {}, ())
    standing = {(row.loss, row.dims): row.standing for row in ranked(result)}
    assert standing == {
        ("softmax", 3): "best", ("arcface", 3): "within noise", ("softmax", 2): "worse", ("arcface", 2): "worse"
    }  # fmt: skip
    sentence = verdict_of(result).sentence
    assert sentence.startswith("Take softmax, 3-D: 95 % of 400 test images named right")
    assert "Clearly worse: softmax 2-D and arcface 2-D." in sentence
    assert "Not clearly worse: arcface 3-D." in sentence
    assert (
        "softmax, 3-D" in result._repr_html_()
        and "95 % of test images named right (92 to 97 %)" in result._repr_html_()
    )


def test_an_option_and_its_number_stay_on_one_line() -> None:
    text = "Use --seeds 3 or more <b> before you choose."
    page = Report("title", "subtitle", [Section("In short", [text])]).html()
    assert 'Use <span class="whole">--seeds 3</span> or more &lt;b&gt; before' in page
