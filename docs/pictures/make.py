"""Draw docs/pictures/digits.png from the run of `make demo`: python docs/pictures/make.py [runs/demo]"""

from __future__ import annotations

import sys
from pathlib import Path

from steradian.plots import EmbeddingDisplay, SphereDisplay
from steradian.plots.theme import LIGHT, small_multiples
from steradian.studies import compare


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
    result = compare("digits", out=out, quiet=True)
    flat, spatial = result.first(2), result.first(3)
    panels = {}
    for name in ("softmax", "arcface"):
        cell = flat[name]
        display = EmbeddingDisplay.from_embeddings(cell.raw, cell.labels, result.classes, cell.centers)
        panels[f"{name}, 2-D"] = display.plot
    for name in ("softmax", "arcface"):
        cell = spatial[name]
        sphere = SphereDisplay.from_embeddings(cell.raw, cell.labels, result.classes, cell.centers)
        panels[f"{name}, 3-D"] = sphere.plot
    picture = small_multiples(panels, "", columns=2, width=4.4, height=3.2)
    (Path(__file__).parent / "digits.png").write_bytes(getattr(picture, LIGHT.name))


if __name__ == "__main__":
    main()
