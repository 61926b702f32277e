"""The wheel works installed outside the checkout, and importing the package is quick."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import steradian as st

ROOT = Path(__file__).parents[1]


def test_wheel_installs_and_works_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("steradian-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    needed = (
        "py.typed",
        "plots/report.html",
        "models/glyphs/model.safetensors",
        "models/glyphs/README.md",
        "models/faces/model.json",
        "models/faces/README.md",
        "models/lite0/model.json",
        "models/lite2/model.json",
    )
    assert {f"steradian/{name}" for name in needed} <= {*names}
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(tmp_path / "site"),
        wheel,
    ]
    subprocess.run(install, check=True, capture_output=True)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import steradian; assert 'site' in steradian.__file__, steradian.__file__\n"
        "from steradian.cli.main import main\n"
        "sys.argv = 'steradian compare digits --epochs 1 --losses arcface --dims 3 --out o'.split()\n"
        "main()"
    )
    shown = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "o" / "report.html").is_file()


def test_public_names() -> None:
    assert st.__version__ and set(st.__all__) <= set(dir(st))
    for name in st.__all__:
        assert getattr(st, name) is not None
    listed = "import sys, steradian; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True).stdout.strip() == "False"
