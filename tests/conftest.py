"""What every test may use: real files on disk, small and made on the spot."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from steradian.cli import main as entry

sys.path.insert(0, str(Path(__file__).parent))
import pictures
import warm

matplotlib.use("Agg")
torch.set_num_threads(1)
# Programs that tests start also compute with one thread: two tests run at a time, on two cores.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a process that runs tests ended, if the system ended it: minus the number of the signal."""
    if error:
        running = node.gateway._io.popen
        print(f"\n{node.gateway.id} ended with exit code {running.wait(timeout=10)}: {error}", file=sys.__stderr__)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def kept_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pictures that were drawn already, one for all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "drawn"
    folder.mkdir(exist_ok=True)
    pictures.drawn_once(folder)
    return folder


@pytest.fixture(scope="session")
def history() -> Callable[[Path], list[dict[str, str]]]:
    """Read the ``history.csv`` of a run folder, without how fast it went."""

    def read(folder: Path) -> list[dict[str, str]]:
        rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
        return [
            {key: value for key, value in row.items() if key not in ("images_per_second", "waiting")} for row in rows
        ]

    return read


@pytest.fixture(scope="session")
def digit_images() -> tuple[np.ndarray, np.ndarray]:
    """Real digits, uint8 [1797, 8, 8], and their labels."""
    found = load_digits()
    return (found.images * 255 / 16).round().astype(np.uint8), found.target


@pytest.fixture
def image_folder(tmp_path: Path, digit_images: tuple[np.ndarray, np.ndarray]) -> Callable[..., Path]:
    """Make a folder of real digit images: classes as subfolders, ``per_class`` PNG files each."""

    def make(classes: int = 3, per_class: int = 12, name: str = "photos", size: int = 16) -> Path:
        pixels, labels = digit_images
        for label in range(classes):
            folder = tmp_path / name / f"class-{label}"
            folder.mkdir(parents=True)
            for count, picture in enumerate(pixels[labels == label][:per_class]):
                Image.fromarray(picture).resize((size, size)).save(folder / f"{count:03d}.png")
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, kept_pictures: Path) -> Iterator[Path]:
    """A folder with the programs ``steradian`` and ``python``, which need not import torch each time."""
    folder = tmp_path_factory.mktemp("warm")
    starting = [sys.executable, str(Path(__file__).with_name("warm.py")), str(folder / "socket"), str(kept_pictures)]
    with subprocess.Popen(starting, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        warm.client(folder / "steradian", folder / "socket", "command")
        warm.client(folder / "python", folder / "socket", "python")
        yield folder
        server.kill()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run ``steradian`` in this process, in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["steradian", *words])
        try:
            entry.main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(bool(exit_.code))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run
