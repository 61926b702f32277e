"""Draw docs/pictures/losses/*.png and boundaries.png: python docs/pictures/losses.py"""

from __future__ import annotations

from pathlib import Path

from steradian import losses
from steradian.plots import DecisionBoundaryDisplay
from steradian.plots.loss_picture import loss_picture
from steradian.plots.theme import small_multiples

HERE = Path(__file__).parent
SYSTEM_E = {
    "original: softmax on the sphere": losses.MarginSoftmaxLoss(2, 3),
    "margin: ArcFace": losses.create("arcface", 2, 3),
    "support vectors: SV-Softmax": losses.create("sv-softmax", 2, 3, t=2.0),
    "both: SV-X-Arc": losses.create("sv-arcface", 2, 3, t=2.0),
}
"""System E's four cases; t is larger than in training, so that its effect is visible."""


def main() -> None:
    (HERE / "losses").mkdir(exist_ok=True)
    for name in losses.names():
        loss = losses.create(name, 3, 4)
        if isinstance(loss, losses.MarginSoftmaxLoss) and (loss.margin is not None or loss.emphasis is not None):
            (HERE / "losses" / f"{name}.png").write_bytes(loss_picture(name, loss).light)
    panels = {title: DecisionBoundaryDisplay.from_loss(loss, scale=4.0).plot for title, loss in SYSTEM_E.items()}
    caption = "Decision boundaries between two classes: original, margin, support vectors, both"
    (HERE / "boundaries.png").write_bytes(small_multiples(panels, caption, columns=4, width=3.0, height=3.0).light)


if __name__ == "__main__":
    main()
