"""Draw docs/pictures/digits.png from the run of `make demo`: python docs/pictures/make.py [runs/demo]"""

from __future__ import annotations

import sys
from pathlib import Path

from steradian.plots import EmbeddingDisplay, SphereDisplay
from steradian.plots.theme import LIGHT, small_multiples
from steradian.studies.comparison.compare import TECHNIQUES, Comparison, compare
from steradian.training import Recipe


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
    found = compare(Comparison(Recipe(), TECHNIQUES, (2, 3), 1), out, command="steradian compare digits", quiet=True)
    flat, solid = found.first(2), found.first(3)
    panels = {}
    for name in ("softmax", "arcface"):
        cell = flat[name]
        shown = EmbeddingDisplay.from_embeddings(cell.raw, cell.labels, found.classes, cell.centers)
        panels[f"{name}, 2-D"] = shown.plot
    for name in ("softmax", "arcface"):
        cell = solid[name]
        sphere = SphereDisplay.from_embeddings(cell.raw, cell.labels, found.classes, cell.centers)
        panels[f"{name}, 3-D"] = sphere.plot
    picture = small_multiples(panels, "", columns=2, width=4.4, height=3.2)
    (Path(__file__).parent / "digits.png").write_bytes(getattr(picture, LIGHT.name))


if __name__ == "__main__":
    main()
