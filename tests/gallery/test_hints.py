"""Many odd images are said in a few lines."""

from steradian.gallery.hints import Hint, gathered


def test_images_of_one_name_that_look_like_another_are_one_line() -> None:
    hints = [Hint(f"{number}.jpg", "Banana", "Leek", 0.9) for number in range(20)]
    assert gathered(hints, {"Banana": 20, "Leek": 20}) == ["Banana: 20 of 20 look like Leek, which is enrolled too."]


def test_a_few_odd_images_are_named() -> None:
    hints = [Hint("a.jpg", "Ana", None, 0.1), Hint("b.jpg", "Ana", None, 0.2)]
    assert gathered(hints, {"Ana": 12}) == ["Ana: 2 of 12 images are unlike its others (a.jpg, b.jpg)."]
    assert gathered(hints[:1], {"Ana": 12}) == ["Ana: 1 of 12 images is unlike its others (a.jpg)."]


def test_where_most_images_are_unlike_each_other_that_is_said_once() -> None:
    hints = [Hint(f"{number}.jpg", f"kind {number % 40}", None, 0.3) for number in range(195)]
    (line,) = gathered(hints, {f"kind {number}": 5 for number in range(40)})
    assert line.startswith("195 of 200 images are not very like") and "more pictures" in line


def test_there_are_never_more_than_five_lines() -> None:
    hints = [Hint("a.jpg", f"kind {number}", f"kind {number + 1}", 0.9) for number in range(30)]
    lines = gathered(hints, {f"kind {number}": 10 for number in range(30)})
    assert len(lines) == 5 and lines[-1] == "… and 26 more such names (--json lists all)."
