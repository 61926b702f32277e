"""Define colors that color-blind readers can distinguish, light and dark themes, and figures without global state."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.typing import ColorType

PETROFF = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
"""Ten colors ordered for people with color-vision deficiencies (Petroff 2021, arXiv 2107.02270)."""

LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = "os^Dv<>pPX"
"""Markers that distinguish classes in addition to color."""


@dataclass(frozen=True)
class Theme:
    """Background (``paper``), text (``ink``) and line (``faint``) colors of a picture."""

    name: str
    paper: str
    ink: str
    faint: str
    lighten: float

    def color(self, index: int, count: int = 10) -> tuple[float, float, float]:
        """Return the color of class or technique ``index`` out of ``count``."""
        if count <= len(PETROFF):
            base = to_rgb(PETROFF[index % len(PETROFF)])
        else:
            # Steps of the golden angle around the color wheel give consecutive indices distant hues.
            base = matplotlib.colormaps["turbo"](0.05 + 0.9 * ((index * 0.618034) % 1.0))[:3]
        red, green, blue = (channel + (1.0 - channel) * self.lighten for channel in base)
        return red, green, blue

    def line(self, index: int, count: int = 10) -> dict[str, Any]:
        """Return color and line style of the curve of class or technique ``index`` out of ``count``."""
        return {"color": self.color(index, count), "ls": LINES[index % len(LINES)]}

    def point(self, index: int, count: int = 10) -> dict[str, Any]:
        """Return color and marker of the points of class or technique ``index`` out of ``count``."""
        return {"color": self.color(index, count), "marker": MARKERS[index % len(MARKERS)]}


DPI = 110
"""Pixels per inch of a picture."""

LIGHT = Theme("light", paper="#ffffff", ink="#1c2128", faint="#c9cfd6", lighten=0.0)
DARK = Theme("dark", paper="#14181d", ink="#e4e8ec", faint="#454d57", lighten=0.28)
THEMES = (LIGHT, DARK)


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """Return an empty figure in the theme's background color, without a window or global state."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def own_axes(ax: Axes | None, theme: Theme, width: float = 4.6, height: float = 4.2) -> Axes:
    """Return ``ax``, or the axes of a new figure, in the theme's colors."""
    axes = ax if ax is not None else new_figure(width, height, theme).add_subplot()
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.ink, labelsize=8)
    for side, spine in axes.spines.items():
        spine.set_color(theme.faint)
        spine.set_visible(side in ("left", "bottom"))
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(theme.ink)
        text.set_fontsize(9)
    return axes


DisplayT = TypeVar("DisplayT", bound="Display")


class Display:
    """A picture that draws itself; ``ax_`` and ``figure_`` are where it was drawn last."""

    def _drawn_on(self: DisplayT, axes: Axes) -> DisplayT:
        self.ax_, self.figure_ = axes, axes.figure
        return self

    def _repr_html_(self) -> str:
        """Return the picture for a notebook: as it was drawn last, or drawn now."""
        plot: Any = getattr(self, "plot")  # noqa: B009 - every display has one
        if not hasattr(self, "figure_"):
            plot()
        picture = base64.b64encode(png(self.figure_.figure)).decode()
        return f'<img alt="{type(self).__name__}" src="data:image/png;base64,{picture}">'


def bare(axes: Axes, limit: float) -> None:
    """Make the axes square, from -limit to limit, without ticks or frame."""
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.set_axis_off()


def legend(axes: Axes, theme: Theme, location: Literal["best", "upper right"] = "best") -> None:
    """Add a legend without a frame, in the theme's text color."""
    axes.legend(frameon=False, fontsize=8, labelcolor=theme.ink, loc=location)


def short_name(name: str, limit: int = 12) -> str:
    """Return ``name`` cut to ``limit`` characters, on one line, with dollar signs escaped."""
    name = "".join(character if character.isprintable() else "�" for character in name)
    return (name if len(name) <= limit else name[: limit - 1] + "…").replace("$", r"\$")


def edge(theme: Theme) -> ColorType:
    """Return the color of a thin rim that separates overlapping points."""
    return (*to_rgb(theme.paper), 0.6)


def png(figure: Figure) -> bytes:
    """Return the figure as PNG with 256 colors: a third of the size of full color, without a visible difference."""
    full = io.BytesIO()
    with warnings.catch_warnings():
        # The font may lack the script of a class name and draw boxes; the tables show the name as text.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(full, format="png", facecolor=figure.get_facecolor())
    return _few_colors(Image.open(full))


def _few_colors(drawn: Image.Image) -> bytes:
    buffer = io.BytesIO()
    drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG")
    return buffer.getvalue()


def _drawn_once(figure: Figure) -> bytes:
    """Return what `png` does of a figure of `new_figure`, sooner: `savefig` draws twice what it lays out."""
    canvas: Any = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        canvas.draw()
    return _few_colors(Image.fromarray(np.asarray(canvas.buffer_rgba())))


def draw_image(axes: Axes, pixels: NDArray[np.uint8], x: float, y: float) -> None:
    """Draw an image [1 or 3, size, size] as a unit square with its top left corner at (x, y), y downwards."""
    shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(x, x + 1, y + 1, y), aspect="equal")


@dataclass(frozen=True)
class Picture:
    """One picture as PNG for light and for dark pages, with alternative text (``words``)."""

    light: bytes
    dark: bytes
    words: str


Panel = Callable[[Axes, Theme], object]
"""A function that draws on axes in a theme, such as the ``plot`` method of a display."""


def small_multiples(
    panels: Mapping[str, Panel], alt_text: str, *, columns: int = 3, width: float = 3.3, height: float | None = None
) -> Picture:
    """Draw a grid of titled panels of ``width`` by ``height`` inches, each by calling ``panel(ax, theme)``.

    ``alt_text`` describes the picture for screen readers.
    """

    def draw(theme: Theme) -> Figure:
        across = min(columns, max(1, len(panels)))
        down = -(-len(panels) // across)
        figure = new_figure(width * across, (width if height is None else height) * down + 0.25, theme)
        for position, (title, panel) in enumerate(panels.items(), start=1):
            axes = own_axes(figure.add_subplot(down, across, position), theme)
            panel(axes, theme)
            axes.set_title(title, color=theme.ink, fontsize=10)
        return figure

    light, dark = draw(LIGHT), draw(DARK)
    shown = _drawn_once(light)
    # Colors do not change where the axes are, and finding it takes as long as drawing them.
    dark.set_layout_engine("none")
    for axes, placed in zip(dark.axes, light.axes, strict=True):
        axes.set_position(placed.get_position(original=True), which="original")
    return Picture(shown, _drawn_once(dark), alt_text)
