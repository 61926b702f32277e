"""Tables of answers: what they hold, what is assumed of them, and what is wrong with them, in words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from steradian.data.answers import Answers, read_answers, read_scored_pairs
from steradian.errors import DataError, StorageError, UsageError


def written(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_answers_alone_with_names_of_every_kind(tmp_path: Path) -> None:
    found = read_answers(
        written(
            tmp_path, '\ufeffid,label,prediction,score\n1,"cat, small",cat,0.5\n2,"""q"" ü",,\n\n3,10,9,1\n4,9,9,2\n'
        )
    )
    assert found.classes == ("9", "10", '"q" ü', "cat", "cat, small")
    assert [found.classes[label] for label in found.labels] == ["cat, small", '"q" ü', "10", "9"]
    assert found.predictions.tolist() == [3, -1, 0, 0]
    np.testing.assert_array_equal(found.confidence, [0.5, np.nan, 1.0, 2.0])
    assert found.notes == ("1 of 4 images have no prediction; each counts as a miss.",)
    assert read_answers(written(tmp_path, "id,label,prediction\n1,a,b\n")).confidence is None


def test_a_column_for_each_class_is_probabilities(tmp_path: Path) -> None:
    found = read_answers(written(tmp_path, "id,label,a,b\n1,b,0.25,0.75\n2,a,0.5004,0.5\n"))
    np.testing.assert_allclose(found.probabilities, [[0.25, 0.75], [0.5002, 0.4998]], atol=1e-4)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
    assert (found.notes, found.predictions.tolist()) == ((), [1, 0])


@pytest.mark.parametrize(
    ("rows", "words", "first"),
    [
        ("1,b,1,3\n2,a,0.5,0.5\n", "treated as logits and passed through softmax", [1 / (1 + np.e**2), 0.880797]),
        ("1,b,0.2,0.2\n2,a,0.5,0.5\n", "1 of 2 rows do not sum to 1 .*each was divided by its sum", [0.5, 0.5]),
        ("1,b,0,0\n2,a,0.5,0.4\n", "1 rows are all zero.*1 of 2 rows do not sum to 1", [0.5, 0.5]),
    ],
)
def test_what_does_not_sum_to_one_is_said_and_mended(tmp_path: Path, rows: str, words: str, first: list[float]) -> None:
    found = read_answers(written(tmp_path, "id,label,a,b\n" + rows))
    np.testing.assert_allclose(found.probabilities[0], first, atol=1e-6)
    assert re.search(words, " ".join(found.notes))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'id'; it has: none"),
        ("id,label\n", "header but no rows"),
        ("id,label\n1,a\n", "neither a prediction column nor class columns"),
        ("id,truth,prediction\n1,a,a\n", "no column 'label'"),
        ("id,label,prediction,confidence\n1,a,a,1\n", r"unknown columns beside prediction: \['confidence'\]"),
        ("id,label,prediction\n1,a,a\n1,b,b\n", "line 3: id '1' already occurs in line 2"),
        ("id,label,prediction\n1,,a\n", "line 2: the label is empty"),
        ("id,label,prediction,score\n1,a,a,nan\n", "line 2: score is 'nan'"),
        ("id,label,prediction,score\n1,a,a,high\n", "line 2: score is 'high'"),
        ("id,label,prediction,score\n1,a,a,\n", "score is empty, but there is a prediction"),
        ("id,label,a,b\n1,c,0.5,0.5\n", "label 'c' has no column; the table has 2"),
        ("id,label,a,b\n1,a,,1\n", "the score of class 'a' is empty"),
        ("id,label,a,a\n1,a,0,1\n", "column 'a' twice"),
        ("id,label,prediction\n1,a,b,c\n", "4 cells, but the header has 3. Cells are separated by commas; put a name"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_answers(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        read_answers(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes("id,label,prediction\nä,b,b\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"line 2 is not UTF-8: byte 0xe4.*'ä,b,b'.*Windows-1252"):
        read_answers(tmp_path / "bytes.csv")


def test_parquet_is_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "no parquet", "table.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install .*pyarrow"):
        read_answers(path)
    monkeypatch.undo()
    import pyarrow
    from pyarrow import parquet

    with pytest.raises(DataError, match="not a readable parquet"):
        read_answers(path)
    parquet.write_table(pyarrow.table({"id": [1, 2], "label": ["a", "b"], "a": [0.9, 0.2], "b": [0.1, 0.8]}), path)
    found = read_answers(path)
    assert (found.ids, found.predictions.tolist()) == (("1", "2"), [0, 1])


def test_scored_pairs(tmp_path: Path) -> None:
    found = read_scored_pairs(written(tmp_path, "a,b,same,score\nx,y,1,0.5\nx,z,No,-1\ny,z,TRUE,2e-1\n"))
    assert (found.scores.tolist(), found.same.tolist()) == ([0.5, -1.0, 0.2], [True, False, True])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,score\nx,y,1\n", "no column 'same'"),
        ("a,b,same,score\nx,y,maybe,1\n", "line 2: same is 'maybe'"),
        ("a,b,same,score\nx,y,1,\n", "line 2: the score is empty"),
        ("a,b,same,score\nx,y,1,1\ny,x,1,1\n", "line 3: the pair 'x' and 'y' already occurs in line 2"),
    ],
)
def test_pairs_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_scored_pairs(written(tmp_path, text))


def test_a_column_that_is_no_class_is_left_out_and_named(tmp_path: Path) -> None:
    with_index = ",id,label,cat,dog,age\n0,a,cat,0.9,0.1,30\n1,b,dog,0.2,0.8,41\n"
    found = read_answers(written(tmp_path, with_index))
    assert found.classes == ("cat", "dog") and found.predictions.tolist() == [0, 1]
    assert "No label uses the columns '', 'age'" in found.notes[0]
    whole = read_answers(written(tmp_path, "id,label,cat,dog,owl\n1,cat,0.5,0.2,0.3\n2,dog,0.1,0.6,0.3\n"))
    assert whole.classes == ("cat", "dog", "owl") and whole.notes == ()
    text = read_answers(written(tmp_path, "id,label,cat,dog,file\n1,cat,0.5,0.5,x.jpg\n2,dog,0.1,0.9,y.jpg\n"))
    assert text.classes == ("cat", "dog") and "'file'" in text.notes[0]
    with pytest.raises(DataError, match="no label uses the columns 'age', and rows that sum neither to 1"):
        read_answers(written(tmp_path, "id,label,cat,dog,age\n1,cat,3,-1,30\n2,dog,-1,2,41\n"))


def test_percentages_and_logarithms(tmp_path: Path) -> None:
    percent = read_answers(written(tmp_path, "id,label,a,b\n1,b,25,75\n2,a,60.5,39.5\n"))
    np.testing.assert_allclose(percent.probabilities, [[0.25, 0.75], [0.605, 0.395]], atol=1e-12)
    assert "treated as percentages" in percent.notes[0]
    rows = f"1,b,{np.log(0.25)},{np.log(0.75)}\n2,a,0.0,-inf\n"
    np.testing.assert_allclose(
        read_answers(written(tmp_path, "id,label,a,b\n" + rows)).probabilities, [[0.25, 0.75], [1, 0]], atol=1e-12
    )
    with pytest.raises(DataError, match=r"line 2: every class has the score -inf"):
        read_answers(written(tmp_path, "id,label,a,b\n1,b,-inf,-inf\n2,a,0,-1\n"))


def test_numbers_are_one_label_however_they_are_written(tmp_path: Path) -> None:
    found = read_answers(written(tmp_path, "id,label,prediction\n1,1,1.0\n2,2.0,2\n3,10,2\n"))
    assert found.classes == ("1", "2", "10") and (found.predictions == found.labels).tolist() == [True, True, False]
    found = read_answers(written(tmp_path, "id,label,1,2\n1,1.0,0.9,0.1\n2,2.0,0.3,0.7\n"))
    assert found.classes == ("1", "2") and found.predictions.tolist() == [0, 1]
    with pytest.raises(DataError, match="no prediction is one of the labels: .*'cat', and predictions such as '0'"):
        read_answers(written(tmp_path, "id,label,prediction\n1,cat,0\n2,dog,1\n"))


def answers_of(tmp_path: Path, text: str) -> Answers:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_answers(path)


def test_a_bad_cell_of_a_class_is_no_reason_to_drop_the_class(tmp_path: Path) -> None:
    text = "id,label,cat,dog,bird\na,cat,.2,.1,.7\nb,dog,.1,.2,.7\nc,dog,.1,.2,{}\n"
    for cell in ("nan", "n/a"):
        with pytest.raises(DataError, match=f"line 4: bird is '{cell}'"):
            answers_of(tmp_path, text.format(cell))
    other = answers_of(tmp_path, "id,label,cat,dog,age\na,cat,.8,.2,7\nb,dog,.1,.9,8\nc,dog,.3,.7,n/a\n")
    assert other.classes == ("cat", "dog") and "'age'" in other.notes[0]


def test_rounded_percentages_and_noise_are_no_logits(tmp_path: Path) -> None:
    whole = answers_of(tmp_path, "id,label,x,y,z\n1,x,34,33,33\n2,y,20,70,10\n3,z,33,33,33\n")
    nll = -np.log(whole.probabilities[np.arange(3), whole.labels]).mean()
    assert abs(nll - -np.log([0.34, 0.7, 1 / 3]).mean()) < 1e-9 and "rounded: from 99 to 100" in whole.notes[0]
    noisy = answers_of(tmp_path, "id,label,x,y\n1,x,1.000000001,-0.000000001\n2,y,.4,.6\n3,y,.002,1.0\n")
    np.testing.assert_allclose(noisy.probabilities, [[1, 0], [0.4, 0.6], [0.002 / 1.002, 1 / 1.002]], atol=1e-9)


def test_one_class_in_two_forms_of_unicode(tmp_path: Path) -> None:
    found = answers_of(tmp_path, "id,label,prediction\na,cafe\u0301,caf\u00e9\nb,dog,dog\n")
    assert found.classes == ("caf\u00e9", "dog") and (found.labels == found.predictions).all()
    columns = answers_of(tmp_path, "id,label,cafe\u0301,dog\na,caf\u00e9,.9,.1\nb,dog,.2,.8\n")
    assert columns.classes == ("caf\u00e9", "dog")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label,prediction\na,x,x\nid,label,prediction\nb,y,y\n", "line 3 repeats the header"),
        ('id,label,prediction\na,cat,cat\nb,dog,"dog\nc,cat,dog\n', "line 3: unexpected end of data"),
        ("id,label,prediction\na,nan,x\nb,y,y\n", "the label is 'nan', which stands for a missing one"),
        ("id,label,x,y\na,x,1_0,.5\nb,y,.1,.9\n", "line 2: x is '1_0'"),
    ],
)
def test_answers_that_would_be_read_wrongly(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError) as told:
        answers_of(tmp_path, text)
    assert said in str(told.value)


def test_columns_and_names_that_need_a_word(tmp_path: Path) -> None:
    zero = answers_of(tmp_path, "id,label,x,y,fold\n1,x,.9,.1,0\n2,y,.6,.4,0\n")
    assert zero.classes == ("x", "y", "fold") and "zero in every row" in zero.notes[0]
    alike = answers_of(tmp_path, "id,label,prediction\na,01,1\nb,Cat,cat\nc,x,x\n")
    assert "'01' and '1'; 'Cat' and 'cat'" in alike.notes[-1]


def test_pairs_with_names_that_contain_words(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("a,b,same,score\na and b,c,1,.5\na,b and c,0,.1\n")
    assert read_scored_pairs(path).same.tolist() == [True, False]
    path.write_text('a,b,same,score\na,b,1,"1,234"\nc,d,0,567\n')
    with pytest.raises(DataError, match=r"line 2: score is '1,234', which may be thousands"):
        read_scored_pairs(path)
