"""An interactive map of attention in a cell's output: plain HTML, so that it works everywhere.

No script, no style sheet, no kernel and no network: folds (`<details>`), inline colours and tooltips pass
JupyterLab's filter for notebooks that are not trusted, and work by mouse and by keyboard.
"""

from html import escape

from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from llm_course.plots import visible

LONGEST = 24  # characters; the size of the output grows with the square
FAINTEST = 0.02  # weights below this are not coloured
BLUE = (0, 114, 178)
DARKEST_UNDER_BLACK = 0.93  # from more blue than this on, white letters stand out better


def attention_view(maps: Float[Tensor, "L H T T"], text: str) -> HTML:
    """Return a fold for each layer and head, a line for each character: what it looks at, coloured.

    Opening a line lists the largest weights; pointing at a coloured character tells its own.
    """
    n_layer, n_head, length, _ = maps.shape
    if length != len(text):
        raise ValueError(f"maps of {length} characters do not fit a text of {len(text)}")
    if length > LONGEST:
        raise ValueError(f"{length} characters are too many to show: {LONGEST} at most")
    folds = []
    for layer in range(n_layer):
        for head in range(n_head):
            lines = "".join(_line(maps[layer, head, t].tolist(), text, t) for t in range(length))
            is_open = " open" if layer == head == 0 else ""
            folds.append(
                f"<details{is_open}><summary>layer {layer + 1}, head {head + 1}</summary>{lines}</details>"
            )
    return HTML(f"<div>{''.join(folds)}</div>")


def _line(weights: list[float], text: str, t: int) -> str:
    """One character's line: the text up to it, coloured by weight; unfolded, the weights in numbers."""
    coloured = "".join(_character(text[s], weights[s]) for s in range(t + 1))
    largest = sorted(range(t + 1), key=lambda s: -weights[s])[:5]
    named = ", ".join(f"{escape(visible(text[s]))} {weights[s]:.2f}" for s in largest)
    return (
        f'<details style="margin-left:1.5em"><summary><code>{coloured}</code></summary>'
        f'<div style="margin-left:1.5em">{escape(visible(text[t]))} (place {t}) looks at: {named}</div>'
        "</details>"
    )


def _character(character: str, weight: float) -> str:
    shown = escape(visible(character))
    if weight < FAINTEST:
        return shown
    share = f"{weight:.2f}"
    # Mixed with white here, and not transparent, so that it is the same on a dark page.
    mixed = ",".join(str(round(255 + (full - 255) * float(share))) for full in BLUE)
    colour = "white" if float(share) > DARKEST_UNDER_BLACK else "black"
    style = f"background-color:rgb({mixed});color:{colour}"
    return f'<span style="{style}" title="{share}">{shown}</span>'
