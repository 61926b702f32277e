"""Generate the reference pages from the code: python docs/reference/write.py"""

from __future__ import annotations

import importlib
import inspect
import re
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

import steradian as st
from steradian import losses
from steradian.losses import constructors
from steradian.losses.fitted import DEPARTURES
from steradian.plots.margins import gradient_factor
from steradian.training.recipe import Recipe


def factors(loss: losses.MarginSoftmaxLoss) -> str:
    """Describe in one line the slope of the target logit in cos(theta); it is 1 without a margin."""
    angles = (0.1, 0.5, 1.0, 1.5, 2.5)
    cosine = torch.cos(torch.tensor(angles, dtype=torch.float64))
    measured = zip(angles, gradient_factor(loss.typical_dials(cosine), cosine).tolist(), strict=True)
    return "Gradient factor at θ: " + ", ".join(f"{value:.3g} at {angle} rad" for angle, value in measured) + "."


def losses_page() -> str:
    lines = [
        "# Losses",
        "",
        "`docs/reference/write.py` generates this page from the registry. `steradian losses NAME` shows one loss.",
        "Angles are in radians. Options have the defaults of the papers; `train` and `compare` start from",
        "`steradian.losses.fitted_options`, which fits margins and scales to the number of classes and dimensions.",
        "Every loss of the softmax family also has the head options, which say how the logits are computed:",
        "`head='auto'` (or dense, tiled, sampled, sharded), `sample_rate`, `hard_share`;",
        "see [many classes](../how-to/many-classes.md).",
        "",
        "Each picture shows the target logit over the angle to the target center; the gradient factor, which is the",
        "size of the gradient relative to plain softmax; and the decision boundary between two classes. The shade is",
        "the probability used in training for an image of class 1, the solid line is where it is 1/2, and the dashed",
        "line is the same for class 2.",
        "`docs/pictures/losses.py` draws them.",
        "",
    ]
    lines += ["## The six to choose from first", "", "| loss | why |", "|---|---|"]
    lines += [f"| [`{name}`](#{name}) | {why} |" for name, why in losses.RECOMMENDED.items()]
    lines += ["", "The other losses follow with them, as a reference.", ""]
    for name in [*losses.RECOMMENDED, *(name for name in losses.names() if name not in losses.RECOMMENDED)]:
        row = losses.preset(name)
        loss_options = {key: value for key, value in row.options().items() if key not in losses.HEAD_OPTIONS}
        options = ", ".join(f"`{key}={value!r}`" for key, value in loss_options.items()) or "none"
        options += "; and the head options" if len(loss_options) < len(row.options()) else ""
        aliases = f" Also called {', '.join(f'`{alias}`' for alias in row.aliases)}." if row.aliases else ""
        lines += [f"## {name}", "", f"    {row.formula}", "", f"{row.paper}, {row.year}. {row.advice}{aliases}", ""]
        lines += [f"Options: {options}.", "", f"Sensible: {row.sensible}.", ""]
        if name in DEPARTURES:
            lines += [f"Fitted: {DEPARTURES[name]}.", ""]
        loss = row.build(3, 4, {})
        if isinstance(loss, losses.MarginSoftmaxLoss) and (loss.margin is not None or loss.emphasis is not None):
            lines += [f"![{name}: target logit, gradient factor, boundary](../pictures/losses/{name}.png)", ""]
            lines += [factors(loss), ""]
    return "\n".join(lines).rstrip() + "\n"


def settings(model: BaseModel, prefix: str = "") -> list[tuple[str, str, str]]:
    """Return (dotted key, default, description) of every setting."""
    rows = []
    for name, item in type(model).model_fields.items():
        default = getattr(model, name)
        if isinstance(default, BaseModel):
            rows += settings(default, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", repr(default), item.description or ""))
    return rows


def recipes_page() -> str:
    lines = [
        "# Recipes",
        "",
        "`docs/reference/write.py` generates this page from `steradian.training.recipe`. A recipe is a YAML file with",
        "these settings; each dot in a name is one level of nesting. Omitted settings have their defaults.",
        "`--set KEY=VALUE` changes one setting on the command line.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{key}` | `{default}` | {text} |" for key, default, text in settings(Recipe())]
    return "\n".join(lines) + "\n"


def api_entry(owner: str, name: str, member: object) -> list[str]:
    """Return the signature and the docstring of a public name as Markdown lines."""
    lines = [f"### {owner}.{name}", ""]
    if callable(member):
        try:
            signature = f"{name}{inspect.signature(member)}"
        except ValueError:
            signature = f"{name}(…)"
        # Unquote annotations, which are strings, and remove the addresses of objects that are defaults.
        signature = re.sub(r"(: |-> )(['\"])(.*?)\2(?=[,)=\s]|$)", r"\1\3", re.sub(r" at 0x[0-9a-f]+", "", signature))
        lines += [f"    {signature}", ""]
    text = inspect.getdoc(member) if callable(member) or isinstance(member, property) else None
    return [*lines, *([plain(text), ""] if text else [])]


def plain(text: str) -> str:
    """Convert a docstring to Markdown; paragraphs with indented lines become code blocks."""
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
        "`docs/reference/write.py` generates this page from the docstrings of the public names of",
        "`import steradian as st`. Losses have their own page ([losses](losses.md)); `st.losses.create` creates them",
        "by name.",
        "",
    ]
    lines += ["## st", ""]
    for cls in (st.Recognizer, st.Gallery):
        lines += api_entry("st", cls.__name__, cls)
        for name, member in inspect.getmembers(cls):
            documented = name in vars(cls) and not name.startswith("_") and inspect.getdoc(member)
            if documented and (inspect.isroutine(member) or isinstance(member, property)):
                lines += api_entry(cls.__name__, name, member)
    for package in ("data", "gallery", "metrics", "models", "plots", "studies", "training"):
        module = importlib.import_module(f"steradian.{package}")
        lines += [f"## st.{package}", "", plain(inspect.getdoc(module) or ""), ""]
        for name in sorted(set(module.__all__) - {"Recognizer", "Gallery"}):
            lines += api_entry(f"st.{package}", name, getattr(module, name))
    return "\n".join(lines).rstrip() + "\n"


def examples(text: str) -> str:
    """Convert a help text to Markdown; lines indented by two spaces are examples."""
    lines = text.replace("\b\n", "").split("\n")
    return "\n".join(f"    {line}" if line.startswith("  ") else line for line in lines)


def commands_page() -> str:
    from typer.main import get_command

    from steradian.cli.main import app

    root: Any = get_command(app)
    lines = [
        "# Commands",
        "",
        "`docs/reference/write.py` generates this page from the `--help` of `steradian` and of each command.",
        "",
    ]

    def verb(path: str, command: Any) -> None:
        lines.extend([f"## {path}", "", examples(command.help or ""), ""])
        params = [
            param for param in command.params if param.name not in ("help", "install_completion", "show_completion")
        ]
        if params:
            lines.extend(["| option | default | meaning |", "|---|---|---|"])
        for param in params:
            shown = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
            shown = shown if shown.startswith("`-") else f"`{param.metavar or param.name.upper()}`"
            default = "" if param.default is None or param.required else f"`{param.default}`"
            lines.append(f"| {shown} | {default} | {(getattr(param, 'help', '') or '').replace('|', chr(92) + '|')} |")
        lines.append("")
        for name, child in getattr(command, "commands", {}).items():
            verb(f"{path} {name}", child)

    for name, command in root.commands.items():
        verb(f"steradian {name}", command)
    return "\n".join(lines).rstrip() + "\n"


def service_page() -> str:
    from steradian.service.app import build_app

    with tempfile.TemporaryDirectory() as scratch, st.Gallery.open(Path(scratch) / "g.db", "glyphs") as gallery:
        openapi = build_app(st.Recognizer.load("glyphs"), gallery).openapi()
    lines = [
        "# Routes of the service",
        "",
        "`docs/reference/write.py` generates this page from the application; programs find the same description at",
        "`/v1/openapi.json`. An error has a status and a sentence in `detail`: 400, 413 and 422 say what is wrong in",
        "the request, 401 and 403 mean a missing token, 404 a missing identity or resource, 429 and 503 that the",
        "client should wait, and 504 that the request took too long. Images are multipart fields named `file`.",
        "",
    ]
    for path, verbs in openapi["paths"].items():
        for method, route in verbs.items():
            lines += [f"## {method.upper()} {path}", "", route.get("description", ""), ""]
            parameters = [(p["name"], p["in"], p.get("description", "")) for p in route.get("parameters", [])]
            form = route.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
            fields = (
                openapi["components"]["schemas"].get(form.get("$ref", "").rpartition("/")[2], {}).get("properties", {})
            )
            parameters += [(name, "form", field.get("description", "")) for name, field in fields.items()]
            if parameters:
                lines += [
                    "| parameter | in | meaning |",
                    "|---|---|---|",
                    *(f"| `{n}` | {w} | {d} |" for n, w, d in parameters),
                    "",
                ]
            answer = next((route["responses"][code] for code in ("200", "201") if code in route["responses"]), {})
            name = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
            if name:
                properties = openapi["components"]["schemas"][name.rpartition("/")[2]]["properties"]
                lines += [f"Returns {{{', '.join(properties)}}}.", ""]
    return "\n".join(lines).rstrip() + "\n"


OPTION_TYPES = {
    "alpha": "float", "bias": "bool", "class_counts": "Sequence[int] | None", "easy_margin": "bool",
    "gradient": 'Literal["exact", "detached"]', "hard_share": "float | None",
    "head": 'Literal["auto", "dense", "tiled", "sampled", "sharded"]', "normalize_weight": "bool",
    "sample_rate": "float | None", "scale": "Scale", "subcenters": "int",
}  # fmt: skip
"""Types of options that cannot be read off their defaults."""


def constructors_stub() -> str:
    """Return the stub of the typed constructors: every one with its options, their types and defaults."""
    lines = [
        "# Written from the table of losses by docs/reference/write.py; do not edit.",
        "from collections.abc import Callable, Sequence",
        "from typing import Literal",
        "",
        "from steradian.losses.margin_softmax import MarginSoftmaxLoss",
        "from steradian.losses.scales import Scale",
        "",
        "CONSTRUCTORS: dict[str, Callable[..., MarginSoftmaxLoss]]",
        "__all__: list[str]",
        "",
        "def constructor_name(name: str) -> str: ...",
    ]
    for name, function in sorted(constructors.CONSTRUCTORS.items()):
        arguments = ["num_classes: int", "embedding_size: int", "*"]
        for option in inspect.signature(function).parameters.values():
            if option.kind is option.KEYWORD_ONLY:
                default = f'"{option.default}"' if isinstance(option.default, str) else repr(option.default)
                kind = OPTION_TYPES.get(option.name, type(option.default).__name__)
                arguments.append(f"{option.name}: {kind} = {default}")
        # textwrap breaks at plain spaces only, so each argument stays on one line.
        unbroken = ", ".join(argument.replace(" ", "\xa0") for argument in arguments)
        packed = textwrap.fill(unbroken, 116, break_long_words=False, break_on_hyphens=False).replace("\xa0", " ")
        lines += [f"def {name}(", textwrap.indent(packed, "    "), ") -> MarginSoftmaxLoss: ..."]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return the text of each generated file by its name relative to this folder."""
    return {
        "../../src/steradian/losses/constructors.pyi": constructors_stub(),
        "tokens.css": (Path(st.plots.__file__).with_name("tokens.css")).read_text(encoding="utf-8"),
        "losses.md": losses_page(),
        "recipes.md": recipes_page(),
        "python.md": python_page(),
        "commands.md": commands_page(),
        "service.md": service_page(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
