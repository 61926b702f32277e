"""The sentence above the numbers of an evaluation."""

from __future__ import annotations

from steradian.studies.evaluation.verdict import verdict_of


def test_landmarks_alone_have_a_sentence_of_their_own() -> None:
    numbers = {"images": 399, "landmarks": {"gap": 0.8953, "queries": 1327, "without_landmark": 928}}
    verdict = verdict_of(numbers)
    assert verdict.sentence.startswith("GAP is 0.895 over 1,327 images, 928 of which show nothing known")
    assert verdict_of({"images": 399}).sentence.startswith("These images do not suffice")


def test_accuracy_comes_first() -> None:
    numbers = {
        "images": 200,
        "closed": {"accuracy": 0.9, "accuracy_interval": [0.85, 0.93]},
        "landmarks": {"gap": 0.5, "queries": 200, "without_landmark": 0},
    }
    assert verdict_of(numbers).sentence.startswith("Of 200 test images the model names 180 right")
