"""A saved notebook as a page of the site, and as a copy that installs the course in Colab."""

import base64
import re
import struct
from html import escape
from pathlib import Path

import nbformat
from site_text import SiteError, Writing, in_colours, to_html  # beside this file

GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")  # what Colab and Binder can open

COLAB_CELL = """\
# Colab begins without the course: this fetches it and installs it, which takes a minute or two.
![ -d /content/course ] || git clone --quiet --depth 1 {repository} /content/course
%pip install --quiet --editable /content/course
%cd -q /content/course"""


def notebook_html(path: Path, page: Writing, pictures: Path) -> str:
    """Return a notebook's cells and outputs as HTML, and write its pictures to a folder."""
    parts = []
    for n, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "markdown":
            parts.append(to_html(cell.source, page))
            continue
        page.note(cell.source)
        parts.append(f'<pre class="code"><code>{in_colours(cell.source, "python")}</code></pre>')
        for i, output in enumerate(cell.get("outputs", [])):
            picture = pictures / f"{path.stem}_{n}_{i}.png"
            html = _output_html(output, f"{page.source}, cell {n}", page, picture)
            parts.append(f'<div class="output">{html}</div>')
    return "\n".join(parts)


def _output_html(output: nbformat.NotebookNode, where: str, page: Writing, picture: Path) -> str:
    if output.output_type == "stream":
        return f"<pre>{escape(output.text.rstrip())}</pre>"
    if output.output_type == "error":
        raise SiteError(f"{where} was saved with an error. Mend it and run `make notebooks`.")
    if "text/html" in output.data:
        return output.data["text/html"]
    if "image/png" in output.data:
        alt = output.metadata.get("image/png", {}).get("alt")
        if not alt:
            raise SiteError(f"{where}: a picture without a description. Use `show(figure, alt=…)`.")
        png = base64.b64decode(output.data["image/png"])
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(png)
        width, height = struct.unpack(">II", png[16:24])
        return (
            f'<img src="{picture.parent.name}/{picture.name}" alt="{escape(alt)}" '
            f'width="{width}" height="{height}" loading="lazy">'
        )
    if "text/markdown" in output.data:
        return to_html(output.data["text/markdown"], page)
    return f"<pre>{escape(output.data['text/plain'])}</pre>"


def ways_to_run(name: str, repository: str | None) -> list[tuple[str, str]]:
    """Return the links beside a notebook, (what they do, address); the first is the download."""
    ways = [("Download the notebook", f"notebooks/{name}.ipynb")]
    if repository and (match := GITHUB.fullmatch(repository)):
        colab = f"https://colab.research.google.com/github/{match[1]}/blob/colab/{name}.ipynb"
        binder = f"https://mybinder.org/v2/gh/{match[1]}/HEAD?labpath=notebooks%2F{name}.ipynb"
        ways += [("Open in Colab", colab), ("Open on Binder", binder)]
    return ways


def for_colab(notebook: nbformat.NotebookNode, repository: str) -> nbformat.NotebookNode:
    """Return a copy that begins with a cell which installs the course; outputs stay, as in `make lab`.

    The course is fetched whole, since it reads what was measured in `results/` beside the package, and
    the folder is entered, since a kernel that runs does not see a package installed in this way.
    """
    source = COLAB_CELL.format(repository=repository)
    first = nbformat.v4.new_code_cell(source, id="install-the-course")
    return nbformat.v4.new_notebook(cells=[first, *notebook.cells], metadata=notebook.metadata)
