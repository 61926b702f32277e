"""Run a notebook of the first hour, and take a picture of it in headless Chromium.

pip install ipykernel nbconvert playwright
python benchmarks/first_hour/notebook.py notebook.png
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor
from playwright.sync_api import sync_playwright

CELLS = (
    "import steradian as st\nst.data.copy_sample('photos')\nst.data.open('photos')",
    "run = st.train('photos')\nrun",
    "run.model",
    "gallery = st.Gallery.open('things.db', run.model)\n"
    "gallery.enroll('shoes', [f'photos/shoes/{number:02}.jpg' for number in range(1, 6)])\ngallery",
    "st.compare('digits', losses=['softmax', 'arcface'], dims=[2], settings={'training.epochs': 3})",
    "test = run.evaluation.inputs.known\nst.plots.AnglesDisplay.from_embeddings(test.raw, test.labels)",
)


def main() -> None:
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
        ExecutePreprocessor(timeout=600).preprocess(notebook, {"metadata": {"path": scratch}})
        page = Path(scratch) / "notebook.html"
        page.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            shown = browser.new_page(viewport={"width": 1000, "height": 800})
            shown.goto(page.as_uri())
            shown.screenshot(path=target, full_page=True)


if __name__ == "__main__":
    main()
