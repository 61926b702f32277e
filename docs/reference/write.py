"""Write the reference pages from the registry and the recipe's fields: python docs/reference/write.py"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel

from steradian import losses
from steradian.losses.fitted import DEPARTURES
from steradian.plots.margins import gradient_factor
from steradian.training.recipe import Recipe


def factors(loss: losses.MarginSoftmaxLoss) -> str:
    """One line: the measured slope of the target logit in cos(theta), 1 without a margin."""
    angles = (0.1, 0.5, 1.0, 1.5, 2.5)
    cosine = torch.cos(torch.tensor(angles, dtype=torch.float64))
    measured = zip(angles, gradient_factor(loss, cosine).tolist(), strict=True)
    return "Gradient factor at θ: " + ", ".join(f"{value:.3g} at {angle} rad" for angle, value in measured) + "."


def losses_page() -> str:
    lines = [
        "# Losses",
        "",
        "Written from the registry by `docs/reference/write.py`. `steradian losses NAME` shows one.",
        "Angles are radians. Options have the defaults of the papers; `train` and `compare` start from",
        "`steradian.losses.fitted_options`, which fits margins and scales to the number of classes and dimensions.",
        "The head's options, of every loss of the softmax family, say how embeddings meet the classes:",
        "`head='auto'` (or dense, tiled, sampled, sharded), `sample_rate`, `hard_share`;",
        "see [many classes](../how-to/many-classes.md).",
        "",
        "Pictures: the target logit over the angle to the own center; the gradient factor, how many times as hard as",
        "plain softmax a loss pulls there; and two classes, the probability that training sees for an image of class 1",
        "as shade, the line where it is 1/2 (solid) and the same line for class 2 (dashed).",
        "`docs/pictures/losses.py` draws them.",
        "",
    ]
    for name in losses.names():
        row = losses.preset(name)
        own = {key: value for key, value in row.options().items() if key not in losses.HEAD_OPTIONS}
        options = ", ".join(f"`{key}={value!r}`" for key, value in own.items()) or "none"
        options += "; and the head's" if len(own) < len(row.options()) else ""
        also = f" Also called {', '.join(f'`{alias}`' for alias in row.aliases)}." if row.aliases else ""
        lines += [f"## {name}", "", f"    {row.formula}", "", f"{row.paper}, {row.year}. {row.advice}{also}", ""]
        lines += [f"Options: {options}.", "", f"Sensible: {row.sensible}.", ""]
        if name in DEPARTURES:
            lines += [f"Fitted: {DEPARTURES[name]}.", ""]
        loss = row.build(3, 4, {})
        if isinstance(loss, losses.MarginSoftmaxLoss) and (loss.margin is not None or loss.emphasis is not None):
            lines += [f"![{name}: target logit, gradient factor, boundary](../pictures/losses/{name}.png)", ""]
            lines += [factors(loss), ""]
    return "\n".join(lines).rstrip() + "\n"


def settings(model: BaseModel, prefix: str = "") -> list[tuple[str, str, str]]:
    """(dotted key, default, description) of every setting."""
    found = []
    for name, item in type(model).model_fields.items():
        default = getattr(model, name)
        if isinstance(default, BaseModel):
            found += settings(default, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", repr(default), item.description or ""))
    return found


def recipes_page() -> str:
    lines = [
        "# Recipes",
        "",
        "Written from `steradian.training.recipe` by `docs/reference/write.py`. A recipe is one YAML file with these",
        "settings, nested by the dots; what is left out has its default. `--set KEY=VALUE` changes one on the command",
        "line.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{key}` | `{default}` | {text} |" for key, default, text in settings(Recipe())]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """File name -> text."""
    return {"losses.md": losses_page(), "recipes.md": recipes_page()}


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
