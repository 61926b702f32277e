"""Pictures of reports that the tests keep: the same ones are drawn once, and others are not taken for them."""

from __future__ import annotations

import numpy as np
import pictures
import pytest

from steradian import plots
from steradian.plots.report import Figure
from steradian.plots.theme import small_multiples


def test_a_changed_number_title_or_size_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(count: int, title: str = "one", width: float = 2.0) -> tuple[bytes, bytes]:
        display = plots.ConfusionDisplay(np.array([[count, 1], [0, 2]]), ("a", "b"))
        (picture,) = Figure.of({title: display.plot}, "words", "caption", width=width).pictures
        return picture.light, picture.dark

    first = drawn(7)
    assert len({first, drawn(8), drawn(7, "two"), drawn(7, width=2.5)}) == 4
    asked = []
    monkeypatch.setattr(pictures, "small_multiples", lambda *how, **sizes: asked.append(how) or small_multiples(*how))
    assert drawn(7) == first and not asked
    # What is no method of a display is drawn each time.
    for _ in range(2):
        Figure.of({"one": lambda axes, theme: None}, "words", "caption")
    assert len(asked) == 2
