"""Write the reference pages from the registry and the recipe's fields: python docs/reference/write.py"""

from __future__ import annotations

import importlib
import inspect
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

import steradian as st
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


def described(owner: str, name: str, found: object) -> list[str]:
    """A public name: its signature and what its docstring says."""
    words = [f"### {owner}.{name}", ""]
    if callable(found):
        try:
            signature = f"{name}{inspect.signature(found)}"
        except ValueError:
            signature = f"{name}(…)"
        # Annotations are strings here, and defaults that are objects have addresses.
        signature = re.sub(r"(: |-> )(['\"])(.*?)\2(?=[,)=\s]|$)", r"\1\3", re.sub(r" at 0x[0-9a-f]+", "", signature))
        words += [f"    {signature}", ""]
    text = inspect.getdoc(found) if callable(found) or isinstance(found, property) else None
    return [*words, *([plain(text), ""] if text else [])]


def plain(text: str) -> str:
    """A docstring as Markdown: its indented parts stay as they stand."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if any(line.startswith("    ") for line in lines):
            lines = [f"    {line}" for line in lines]
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs).replace("``", "`")


def python_page() -> str:
    lines = [
        "# The Python API",
        "",
        "Written from the docstrings by `docs/reference/write.py`: the public names of `import steradian as st`.",
        "Losses have a page of their own ([losses](losses.md)); `st.losses.create` makes them by name.",
        "",
    ]
    lines += ["## st", ""]
    for found in (st.Recognizer, st.Gallery):
        lines += described("st", found.__name__, found)
        for name, member in inspect.getmembers(found):
            own = name in vars(found) and not name.startswith("_") and inspect.getdoc(member)
            if own and (inspect.isroutine(member) or isinstance(member, property)):
                lines += described(found.__name__, name, member)
    for room in ("data", "gallery", "metrics", "models", "plots", "training"):
        module = importlib.import_module(f"steradian.{room}")
        lines += [f"## st.{room}", "", plain(inspect.getdoc(module) or ""), ""]
        for name in sorted(set(module.__all__) - {"Recognizer", "Gallery"}):
            lines += described(f"st.{room}", name, getattr(module, name))
    return "\n".join(lines).rstrip() + "\n"


def examples(text: str) -> str:
    """A help text as Markdown: its examples are indented by two."""
    lines = text.replace("\b\n", "").split("\n")
    return "\n".join(f"    {line}" if line.startswith("  ") else line for line in lines)


def commands_page() -> str:
    from typer.main import get_command

    from steradian.cli.main import app

    root: Any = get_command(app)
    lines = [
        "# Commands",
        "",
        "Written from `steradian --help` and that of each verb by `docs/reference/write.py`.",
        "",
    ]

    def verb(path: str, command: Any) -> None:
        lines.extend([f"## {path}", "", examples(command.help or ""), ""])
        rows = [one for one in command.params if one.name not in ("help", "install_completion", "show_completion")]
        if rows:
            lines.extend(["| | default | |", "|---|---|---|"])
        for one in rows:
            shown = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
            shown = shown if shown.startswith("`-") else f"`{one.metavar or one.name.upper()}`"
            default = "" if one.default is None or one.required else f"`{one.default}`"
            lines.append(f"| {shown} | {default} | {(getattr(one, 'help', '') or '').replace('|', chr(92) + '|')} |")
        lines.append("")
        for name, child in getattr(command, "commands", {}).items():
            verb(f"{path} {name}", child)

    for name, command in root.commands.items():
        verb(f"steradian {name}", command)
    return "\n".join(lines).rstrip() + "\n"


def service_page() -> str:
    from steradian.service.app import build_app

    with tempfile.TemporaryDirectory() as scratch, st.Gallery.open(Path(scratch) / "g.db", "glyphs") as gallery:
        told = build_app(st.Recognizer.load("glyphs"), gallery).openapi()
    lines = [
        "# Routes of the service",
        "",
        "Written from the application by `docs/reference/write.py`; programs find the same at `/v1/openapi.json`.",
        "Errors have a status and one sentence in `detail`: 400, 413 and 422 say what is wrong with the request, 401",
        "and 403 that a token is missing, 404 that somebody or something is not there, 429 and 503 to wait, 504 that",
        "it took too long. Pictures are sent as multipart fields `file`.",
        "",
    ]
    for path, verbs in told["paths"].items():
        for method, one in verbs.items():
            lines += [f"## {method.upper()} {path}", "", one.get("description", ""), ""]
            given = [(p["name"], p["in"], p.get("description", "")) for p in one.get("parameters", [])]
            form = one.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
            fields = (
                told["components"]["schemas"].get(form.get("$ref", "").rpartition("/")[2], {}).get("properties", {})
            )
            given += [(name, "form", field.get("description", "")) for name, field in fields.items()]
            if given:
                lines += ["| | in | |", "|---|---|---|", *(f"| `{n}` | {w} | {d} |" for n, w, d in given), ""]
            answer = next((one["responses"][code] for code in ("200", "201") if code in one["responses"]), {})
            name = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
            if name:
                shape = told["components"]["schemas"][name.rpartition("/")[2]]["properties"]
                lines += [f"Answers {{{', '.join(shape)}}}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[str, str]:
    """File name -> text."""
    return {
        "losses.md": losses_page(),
        "recipes.md": recipes_page(),
        "python.md": python_page(),
        "commands.md": commands_page(),
        "service.md": service_page(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
