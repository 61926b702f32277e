from __future__ import annotations

import numpy as np

from steradian.studies.comparison.noise import verdicts as judge


def verdicts(values: dict[str, list[float]], right=None, **options):
    """With seeds 0, 1, … for the values of each list, and ``right`` for the first."""
    of_first = None if right is None else {name: {0: found} for name, found in right.items()}
    return judge({name: dict(enumerate(found)) for name, found in values.items()}, of_first, **options)


def test_clear_differences_over_seeds() -> None:
    found = verdicts({"a": [0.97, 0.98, 0.975], "b": [0.90, 0.91, 0.905], "c": [0.969, 0.982, 0.973]})
    assert {name: verdict.standing for name, verdict in found.items()} == {
        "a": "best",
        "b": "worse",
        "c": "within noise",
    }
    assert found["b"].difference.low > 0


def test_one_seed_pairs_over_items() -> None:
    right = {
        "a": np.ones(500, bool),
        "b": np.r_[np.zeros(60, bool), np.ones(440, bool)],
        "c": np.r_[False, np.ones(499, bool)],
    }
    values = {name: [found.mean()] for name, found in right.items()}
    found = verdicts(values, right)
    assert [found[name].standing for name in "abc"] == ["best", "worse", "within noise"]
    assert verdicts(values)["b"].standing == "unknown"


def test_lower_may_be_better_and_nan_is_unknown() -> None:
    found = verdicts({"a": [0.1, 0.11], "b": [0.01, 0.012], "c": []}, higher_is_better=False)
    assert found["b"].standing == "best" and found["c"].standing == "unknown"
    assert verdicts({"a": []})["a"].standing == "unknown"


def test_more_comparisons_need_more_evidence() -> None:
    """Bonferroni: what two techniques alone would tell apart, ten need not."""
    close = {"a": [0.90, 0.91, 0.92, 0.93], "b": [0.889, 0.902, 0.908, 0.924]}
    assert verdicts(close)["b"].standing == "worse"
    many = {**close, **{f"x{n}": [0.5, 0.5, 0.5, 0.5] for n in range(40)}}
    assert verdicts(many)["b"].standing == "within noise"


def test_differences_pair_the_seeds_that_both_have() -> None:
    found = judge({"a": {0: 0.9, 1: 0.8, 2: 0.7}, "b": {1: 0.79, 2: 0.69}})
    assert found["b"].standing == "worse" or found["b"].difference.mean > 0
    assert abs(found["b"].difference.mean - 0.01) < 1e-12


def test_seeds_that_agree_on_few_images_prove_little() -> None:
    """Two images of 40 more in every seed: no doubt about seeds, every doubt about other images."""
    ours, theirs = np.ones(40, bool), np.r_[np.zeros(2, bool), np.ones(38, bool)]
    values = {"a": {0: 1.0, 1: 1.0, 2: 1.0}, "b": {0: 0.95, 1: 0.95, 2: 0.95}}
    assert judge(values)["b"].standing == "worse"
    right = {"a": dict.fromkeys(range(3), ours), "b": dict.fromkeys(range(3), theirs)}
    assert judge(values, right)["b"].standing == "within noise"
    many = {name: {seed: np.tile(found, 50) for seed, found in seeds.items()} for name, seeds in right.items()}
    assert judge(values, many)["b"].standing == "worse"
