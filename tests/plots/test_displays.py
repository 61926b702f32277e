"""Every Display computes on the object, draws on given or new axes, and returns itself."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from steradian import losses, plots
from steradian.errors import InputError
from steradian.plots.report import Cell, Report, Section, Spheres, Table
from steradian.plots.report import Figure as ReportFigure
from steradian.plots.theme import DARK, LIGHT, PETROFF, new_figure, own_axes, png, small_multiples

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(4), 10)
CLASSES = ("a", "b", "<script>", "a very long class name")
FLAT, SOLID = RNG.normal(size=(40, 2)), RNG.normal(size=(40, 3))
HISTORY = [{"epoch": n, "train_loss": 1 / n, "validation_accuracy": None} for n in (1, 2, 3)]

CURVES = ("softmax", "sphereface", "cosface", "arcface", "sphere-arc", "adaface", "triplet", "contrastive")
DISPLAYS = {
    "embedding": (plots.EmbeddingDisplay.from_embeddings(FLAT, LABELS, CLASSES), "plot"),
    "circle": (plots.EmbeddingDisplay.from_embeddings(FLAT, LABELS, CLASSES), "plot_circle"),
    "sphere": (plots.SphereDisplay.from_embeddings(SOLID, LABELS, CLASSES), "plot"),
    "angles": (plots.AnglesDisplay.from_embeddings(SOLID, LABELS), "plot"),
    "own": (plots.AnglesDisplay.from_embeddings(SOLID, LABELS), "plot_own_against_nearest"),
    "margins": (plots.TargetLogitDisplay.from_losses({n: losses.create(n, 4, 3) for n in CURVES}), "plot"),
    "factors": (plots.TargetLogitDisplay.from_losses({n: losses.create(n, 4, 3) for n in CURVES}), "plot_factors"),
    "boundary": (plots.DecisionBoundaryDisplay.from_loss(losses.create("sv-arcface", 2, 3)), "plot"),
    "relations": (plots.ClassRelationsDisplay.from_centers(np.eye(4, 5) + 0.1, CLASSES), "plot"),
    "class map": (plots.ClassRelationsDisplay.from_centers(np.eye(4, 5) + 0.1, CLASSES), "plot_map"),
    "history": (plots.HistoryDisplay.from_histories({"x": [HISTORY, HISTORY]}), "plot"),
    "no history": (plots.HistoryDisplay.from_histories({"x": [HISTORY]}, "validation_accuracy"), "plot"),
    "confusion": (plots.ConfusionDisplay.from_predictions(LABELS, np.roll(LABELS, 3), CLASSES), "plot"),
    "mistakes": (
        plots.MistakesDisplay.from_answers(
            RNG.integers(0, 256, (5, 3, 9, 9), dtype=np.uint8),
            RNG.integers(0, 256, (5, 3, 9, 9), dtype=np.uint8),
            ["a", "<script>", "$x$", "a very long name of a class", "e"],
            list("bcdef"),
            [0.99, 0.9, 0.8, 0.7, 0.6],
        ),
        "plot",
    ),
    "det without errors": (plots.RocDisplay.from_rates({"x": ([0, 0, 1], [0, 1, 1])}), "plot_det"),
    "roc": (plots.RocDisplay.from_rates({"x": ([0, 0.1, 1], [0, 0.8, 1]), "y": ([0, 1], [0, 1])}), "plot"),
    "det": (plots.RocDisplay.from_rates({"x": ([0, 0.1, 0.5, 1], [0, 0.8, 0.9, 1])}), "plot_det"),
    "precision": (plots.PrecisionRecallDisplay.from_rates({"x": ([0.5, 1], [1, 0.6])}), "plot"),
    "reliability": (plots.ReliabilityDisplay.from_bins([0.3, 0.9], [0.4, 0.8], [3, 90]), "plot"),
    "intervals": (plots.IntervalsDisplay.from_values("accuracy", {"x": [0.9, 0.92, 0.94], "y": [0.8]}), "plot"),
}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("name", DISPLAYS)
def test_displays_draw_ink_on_their_paper(name: str, theme: plots.Theme) -> None:
    display, method = DISPLAYS[name]
    assert getattr(display, method)(theme=theme) is display
    assert isinstance(display.figure_, Figure)
    picture = np.asarray(Image.open(io.BytesIO(png(display.figure_))).convert("RGB")).astype(int)
    paper = np.array([int(theme.paper[i : i + 2], 16) for i in (1, 3, 5)])
    drawn = (np.abs(picture - paper).sum(axis=2) > 60).mean()
    assert 0.002 < drawn < 0.7


def test_given_axes_are_used() -> None:
    axes = Figure().add_subplot()
    display, _ = DISPLAYS["angles"]
    assert display.plot(axes).ax_ is axes


def test_numbers_stay_on_the_object() -> None:
    flat, _ = DISPLAYS["embedding"]
    assert flat.points.shape == (40, 2) and flat.centers.shape == (4, 2) and flat.correct.dtype == bool
    curve = DISPLAYS["margins"][0].logits
    assert set(curve) == set(CURVES) - {"triplet", "contrastive"}
    np.testing.assert_allclose(curve["cosface"] + 0.35, curve["softmax"], atol=1e-12)
    assert DISPLAYS["intervals"][0].intervals["x"].mean == pytest.approx(0.92)
    assert DISPLAYS["confusion"][0].counts.sum() == 40


def test_wrong_dimensions_say_what_to_do() -> None:
    with pytest.raises(InputError, match=r"of embeddings \[N, 2\].*--dims 2"):
        plots.EmbeddingDisplay.from_embeddings(SOLID, LABELS, CLASSES)
    with pytest.raises(InputError, match="labels must be"):
        plots.SphereDisplay.from_embeddings(SOLID, LABELS + 1, CLASSES)


def simulated(color: tuple[float, float, float], matrix: np.ndarray) -> np.ndarray:
    return matrix @ np.array(color)


def test_class_colors_differ_for_color_blind_eyes() -> None:
    """Full deuteranopia and protanopia (Machado et al. 2009, severity 1): no two of the first colors merge."""
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    protanopia = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
    for theme in (LIGHT, DARK):
        for matrix in (np.eye(3), deuteranopia, protanopia):
            seen = np.array([simulated(theme.color(index), matrix) for index in range(6)])
            apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + np.eye(6)
            assert apart.min() > 0.1, (theme.name, apart.min())
    assert len(set(PETROFF)) == 10


def test_report_is_one_safe_offline_page() -> None:
    picture = small_multiples({"one": DISPLAYS["angles"][0].plot}, 'words "quoted"')
    page = Report(
        "A <b>title</b>",
        "sub",
        [
            Section("S", ["<script>alert(1)</script>"], [Table(["", "x"], [[Cell("a<b"), Cell("1", "best")]], ["n"])]),
            Section(
                "P", [], [ReportFigure([picture], "caption", 300), Spheres("one", {"x": DISPLAYS["sphere"][0]}, "turn")]
            ),
        ],
    ).html()
    assert "<b>title" not in page and "<script>alert" not in page and "a&lt;b" in page
    assert page.count("DecompressionStream") == 1 and "prefers-color-scheme: dark" in page
    start = page.index('id="one-data">') + len('id="one-data">')
    assert "<" not in page[start : page.index("</script>", start)]
    assert "plotly" not in Report("t", "s", [Section("S")]).html().lower()


@pytest.mark.parametrize("name", ["confusion", "roc"])
def test_both_pictures_of_a_report_are_those_that_matplotlib_saves(name: str) -> None:
    display, method = DISPLAYS[name]
    picture = small_multiples({"one": getattr(display, method), "two": getattr(display, method)}, "words")
    for theme, drawn in ((LIGHT, picture.light), (DARK, picture.dark)):
        figure = new_figure(6.6, 3.55, theme)
        for place in (1, 2):
            axes = own_axes(figure.add_subplot(1, 2, place), theme)
            getattr(display, method)(axes, theme)
            axes.set_title(("one", "two")[place - 1], color=theme.ink, fontsize=10)
        assert drawn == png(figure)


@pytest.mark.parametrize("name", ["cocoloss", "hyperspherical", "sv-softmax"])
def test_without_a_margin_the_boundary_is_the_diagonal(name: str) -> None:
    lead = plots.DecisionBoundaryDisplay.from_loss(losses.create(name, 2, 4)).lead
    np.testing.assert_allclose(np.diag(lead), 0.0, atol=1e-9)
    assert lead[120, 30] > 0 > lead[30, 120], "an image near center 1 and far from center 2 leads"


def test_a_margin_demands_more_than_the_diagonal() -> None:
    lead = plots.DecisionBoundaryDisplay.from_loss(losses.create("arcface", 2, 4, margin=0.3)).lead
    assert (np.diag(lead)[1:-1] < 0).all()


def test_drawing_leaves_the_loss_as_it_is() -> None:
    loss = losses.create("hyperspherical", 5, 4)
    plots.TargetLogitDisplay.from_losses({"h": loss})
    plots.DecisionBoundaryDisplay.from_loss(loss)
    for one in (loss, losses.create("hyperspherical", 5, 4).double()):
        plots.ClassRelationsDisplay.from_centers(np.eye(5, 4) + 0.1, list("abcde"), one.score)
    assert all(value.dtype == torch.float32 for value in loss.parameters())
    loss(torch.randn(3, 4), torch.tensor([0, 1, 2]))


def test_annealed_margins_are_drawn_as_they_end() -> None:
    """lambda = 5 leaves a sixth of psi: (5 cos + psi) / 6 at 60 degrees is (2.5 - 1.5) / 6."""
    display = plots.TargetLogitDisplay.from_losses({"sphereface": losses.create("sphereface", 3, 4)})
    sixty = int(np.argmin(np.abs(display.theta - np.pi / 3)))
    assert display.logits["sphereface"][sixty] == pytest.approx(1 / 6, abs=0.02)


@pytest.mark.parametrize(("other", "scale"), [(1.0, "linear"), (100.0, "log")])
def test_losses_of_very_different_size_share_a_logarithmic_axis(other: float, scale: str) -> None:
    rows = [{**row, "train_loss": 2.0 - 0.1 * i} for i, row in enumerate(HISTORY)]
    large = [{**row, "train_loss": other * row["train_loss"]} for row in rows]
    display = plots.HistoryDisplay.from_histories({"x": [rows], "y": [large]}).plot()
    assert display.ax_.get_yscale() == scale
