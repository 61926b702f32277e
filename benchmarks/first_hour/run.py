"""Play the first hour of a newcomer on a fresh clone, time every wait, and write the table of README.md.

    python benchmarks/first_hour/run.py                   clones, installs, plays; needs a package index
    python benchmarks/first_hour/run.py --environment .venv    plays with an environment that is installed already

Commands run one after another, each in a process of its own, with the caches of features empty.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
REPEATS = 5
MARKER = "<!-- measured -->"

FIVE = (
    "steradian data sample --copy-to photos/",
    "steradian train photos/",
    "steradian classify runs/photos photos/hat/01.jpg",
    'steradian enroll runs/photos photos/shoes/0[1-5].jpg --name "My shoes"',
    "steradian identify runs/photos photos/shoes/15.jpg photos/dress/02.jpg",
)
"""From nothing to "this is what you showed me, that one is unknown"."""

BAR = re.compile(r"\d+/\d+ \[|encoder: tf_")
"""A progress bar, or the line before training where it takes less time than a bar waits for."""


class Place:
    """A folder in which commands run, as a user types them in a shell."""

    def __init__(self, folder: Path, binaries: Path, cache: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(binaries), os.environ["PATH"]])
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.environment = {**inherited, "PATH": path, "STERADIAN_CACHE": str(cache)}

    def run(self, command: str) -> tuple[float, str]:
        """Return the seconds of a command and what it printed; raise where it failed."""
        before = time.perf_counter()
        shown = subprocess.run(
            ["bash", "-euc", command], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        seconds = time.perf_counter() - before
        if shown.returncode:
            raise SystemExit(f"{command}\n{shown.stdout}\n{shown.stderr}")
        return seconds, shown.stdout + shown.stderr

    def median(self, command: str, repeats: int = REPEATS) -> float:
        """Return the median seconds of a command; the first run, which fills the disk cache, does not count."""
        return statistics.median([self.run(command)[0] for _ in range(repeats + 1)][1:])

    def from_bar_to_prompt(self, command: str) -> float:
        """Return the seconds from the last change of a progress bar of training to the end of the command."""
        terminal = ["script", "-qefc", command, "/dev/null"]
        with subprocess.Popen(terminal, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            last = time.perf_counter()
            while chunk := os.read(process.stdout.fileno(), 65536):
                if BAR.search(chunk.decode(errors="replace")):
                    last = time.perf_counter()
        return time.perf_counter() - last


def install(folder: Path) -> tuple[Path, Path, float]:
    """Clone and install; return the clone, its programs and the seconds of the installation."""
    clone = folder / "steradian"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    before = time.perf_counter()
    subprocess.run(["make", "--quiet", ".venv/.installed"], cwd=clone, check=True)
    return clone, clone / ".venv" / "bin", time.perf_counter() - before


def readme_blocks() -> list[str]:
    """Return the shell blocks of the README's first two screens, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own images")[0]
    return re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, help="folder of an environment that is installed already")
    environment = parser.parse_args().environment
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if environment is None:
            clone, binaries, seconds = install(folder)
            rows.append(("make demo: installation", f"{seconds:.0f} s", "told apart"))
        else:
            clone, binaries = folder / "work", environment.resolve() / "bin"
            clone.mkdir()
        place = Place(clone, binaries, folder / "cache")
        seconds, _ = place.run("steradian compare digits --out runs/demo")
        size = (clone / "runs/demo/report.html").stat().st_size / 1e6
        rows += [("make demo: to the report", f"{seconds:.0f} s", "90 s"), ("its report", f"{size:.1f} MB", "6 MB")]
        if environment is None:
            # The demo has run; the other blocks are pasted as they stand.
            pasted = [block for block in readme_blocks() if "make demo" not in block]
            place.run("\n".join(pasted))
            rows.append(("README, first two screens pasted in order", "works", "works"))
        five = Place(folder / "five", binaries, folder / "other-cache")
        five.folder.mkdir()
        times, printed = zip(*(five.run(command) for command in FIVE), strict=True)
        known = re.search(r"shoes/15.jpg\n  My shoes \(.*\n(?:.*\n)*?photos/dress/02.jpg\n  unknown", printed[-1])
        if known is None:
            raise SystemExit(f"The shoes were not recognized, or the dress was named:\n{printed[-1]}")
        rows.append(("five commands to a name and an unknown", f"{sum(times):.0f} s", "180 s"))
        rows += [(f"`{command}`", f"{one:.1f} s", "") for command, one in zip(FIVE, times, strict=True)]
        train = five.from_bar_to_prompt("steradian train photos/ --out runs/again")
        rows.append(("train: 200 pictures, from the end of the bar to the prompt", f"{train:.1f} s", "5 s"))
        rows.append(("evaluate: 200 pictures", f"{five.median('steradian evaluate runs/photos photos/', 3):.1f} s", ""))
        python = str(binaries / "python")
        quick = {
            "import steradian": (f"{python} -c 'import steradian'", ".1 s, Python itself apart"),
            "python, nothing imported": (f"{python} -c pass", ""),
            "steradian --help": ("steradian --help", ".3 s"),
            "classify, one picture, cold": (FIVE[2], "3 s"),
            "its bare imports": (
                f"{python} -c 'import torch, PIL.Image, typer, safetensors, pydantic'", "classify / 1.3"
            ),
            "a misspelt path": ("steradian train phtos/ && exit 1 || true", "1 s"),
        }  # fmt: skip
        for name, (command, target) in quick.items():
            rows.append((name, f"{five.median(command):.2f} s", target))
        write(rows, place.run(f"{python} -c 'import torch; print(torch.__version__)'")[1].strip())


def write(rows: list[tuple[str, str, str]], torch_version: str) -> None:
    """Put the table behind the marker in README.md, and print it."""
    command = " ".join(["python", "benchmarks/first_hour/run.py", *sys.argv[1:]])
    date = datetime.date.today().isoformat()
    lines = [
        f"`{command}`, {date}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch_version}; "
        "the sample is part of the package.",
        "",
        "| what | measured | to reach |",
        "|---|---|---|",
        *(f"| {name} | {value} | {target} |" for name, value, target in rows),
    ]
    print("\n".join(lines))
    readme = HERE / "README.md"
    before = readme.read_text(encoding="utf-8").partition(MARKER)[0]
    readme.write_text(f"{before}{MARKER}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
