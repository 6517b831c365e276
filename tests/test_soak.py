"""`make soak`: the whole course twice in a row in one kernel, whose memory must not grow."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
MEMORY = """
import gc, psutil
gc.collect()
print("resident megabytes:", psutil.Process().memory_info().rss // 2**20)
"""


@pytest.mark.soak
def test_the_course_twice_in_one_kernel(monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_COURSE_PROGRESS", str(tmp_path / "progress.json"))
    cells = []
    for _ in range(2):
        for path in NOTEBOOKS:
            cells += [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        cells.append(nbformat.v4.new_code_cell(MEMORY))
    for number, cell in enumerate(cells):
        cell.id = str(number)
    twice = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(
        twice, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    once, again = (
        int(cell.outputs[0].text.split(":")[1]) for cell in twice.cells if cell.source == MEMORY
    )
    print(
        f"the course twice in one kernel: {once} MB after the first time, {again} after the second"
    )
    assert again < 1.1 * once + 50
