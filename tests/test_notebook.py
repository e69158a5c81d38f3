"""The example notebook runs as it stands, in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from command import ROOT
from nbclient import NotebookClient

NOTEBOOK = ROOT / "examples" / "tune_digits.ipynb"


@pytest.mark.slow
def test_the_example_notebook_runs(folder: Path) -> None:
    """In a kernel of its own, as in Jupyter; a bar moves there."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    pages = [output.data.get("text/html", "") for output in outputs if "data" in output]
    assert any("<th>CV accuracy</th>" in page for page in pages)
    assert len(list(folder.glob("outputs/runs/*/*/result.json"))) == 2


def test_the_example_notebook_holds_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)
