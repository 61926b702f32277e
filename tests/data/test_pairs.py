"""Lists of pairs in the format of LFW: what they say, and what is wrong with them, in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steradian.data.pairs import image_numbers, place_pairs, read_pairs
from steradian.errors import DataError

GOOD = "2\t1\nAna\t1\t2\nAna\t1\tBen Ö\t3\n\nBen Ö\t1\t3\nBen Ö\t2\tAna\t2\n"
FILES = [
    "Ana/Ana_0001.jpg",
    "Ana/Ana_0002.png",
    "Ben Ö/x-1.jpg",
    "Ben Ö/x-2.jpg",
    "Ben Ö/x-0003.jpg",
    "Ben Ö/front.jpg",
]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_pairs_of_one_and_of_two_find_their_images(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    found = read_pairs(path)
    assert found.same.tolist() == [True, False, True, False] and found.folds.tolist() == [0, 0, 1, 1]
    assert found.first[1] == ("Ana", 1) and found.second[1] == ("Ben Ö", 3) and found.lines.tolist() == [2, 3, 5, 6]
    places = image_numbers(FILES, [name.split("/")[0] for name in FILES])
    assert places[("Ben Ö", 3)] == 4 and len(places) == 5
    placed = place_pairs(found, places, path)
    assert placed.first.tolist() == [0, 0, 2, 3] and placed.second.tolist() == [1, 4, 4, 1] and placed.missing == ()


def test_spaces_part_columns_where_there_are_no_tabs_and_one_number_is_one_fold(tmp_path: Path) -> None:
    found = read_pairs(written(tmp_path, "1\nAna 1 2\nAna 2 Ben 1\n"))
    assert found.folds.tolist() == [0, 0] and found.second == (("Ana", 2), ("Ben", 1))


def test_missing_images_are_listed_and_may_be_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    found = read_pairs(path)
    places = image_numbers(FILES[1:], [name.split("/")[0] for name in FILES[1:]])
    with pytest.raises(
        DataError, match=r"2 of 4 pairs name images.*\n  line 2: Ana 1\n  line 3: Ana 1\n.*--skip-missing"
    ):
        place_pairs(found, places, path)
    placed = place_pairs(found, places, path, skip_missing=True)
    assert placed.same.tolist() == [True, False] and placed.folds.tolist() == [1, 1]
    assert placed.missing == ("2 of 4 pairs name images that do not exist and were skipped.",)
    with pytest.raises(DataError, match="4 of 4 pairs"):
        place_pairs(found, {("Anna", 1): 0}, path, skip_missing=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: '' is not a header"),
        ("Ana 1 2\n", "line 1: 'Ana 1 2' is not a header"),
        ("1 0\n", "not a header"),
        ("1 1\nAna 1 2\n", "2 in all, but holds 1"),
        ("1 1\nAna 1 2\nAna one Ben 2\n", "line 3: 'Ana one Ben 2' is not a pair"),
        ("1 1\nAna 1 1\nAna 1 Ben 2\n", "line 2: Ana 1 is paired with itself"),
        ("1 1\nAna 1\nAna 1 Ben 2\n", "line 2: 'Ana 1' is not a pair"),
    ],
)
def test_what_is_no_list_of_pairs(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read_pairs(written(tmp_path, text))


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_bytes(np.arange(256, dtype=np.uint8).tobytes())
    with pytest.raises(DataError, match="not text in UTF-8"):
        read_pairs(tmp_path / "pairs.txt")
