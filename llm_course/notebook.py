"""What only a notebook needs: pictures with a description, source shown in place, the machine's facts."""

import inspect
import platform

import torch
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from IPython.display import Markdown, display
from matplotlib.figure import Figure

if (shell := get_ipython()) is not None:  # so that Jupyter shows a figure that pyplot did not make
    shell.display_formatter.formatters["image/png"].for_type(Figure, print_figure)


def show(figure: Figure, alt: str) -> None:
    """Show a figure as a PNG; `alt` says in words what is seen, for those who cannot see it."""
    display(figure, metadata={"image/png": {"alt": alt}})


def show_source(*things: object) -> None:
    """Show the source of functions or classes as it stands in the package, so that it cannot drift."""
    source = "\n\n".join(inspect.getsource(thing).rstrip() for thing in things)
    display(Markdown(f"```python\n{source}\n```"))


def describe_machine() -> str:
    """Return one line: Python, PyTorch, the processor's threads, and the accelerator where there is one."""
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    return (
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, accelerator: {accelerator or 'none (none is needed)'}"
    )
