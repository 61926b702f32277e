"""Write the reference pages from the registry and the recipe's fields: python docs/reference/write.py"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from steradian import losses
from steradian.losses.fitted import DEPARTURES
from steradian.training.recipe import Recipe


def losses_page() -> str:
    lines = [
        "# Losses",
        "",
        "Written from the registry by `docs/reference/write.py`. `steradian losses NAME` shows one.",
        "Angles are radians. Options have the defaults of the papers; `train` and `compare` start from",
        "`steradian.losses.fitted_options`, which fits margins and scales to the number of classes and dimensions.",
        "",
    ]
    for name in losses.names():
        row = losses.preset(name)
        options = ", ".join(f"`{key}={value!r}`" for key, value in row.options().items()) or "none"
        lines += [f"## {name}", "", f"    {row.formula}", "", f"{row.paper}, {row.year}. {row.advice}", ""]
        lines += [f"Options: {options}.", ""]
        if name in DEPARTURES:
            lines += [f"Fitted: {DEPARTURES[name]}.", ""]
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
