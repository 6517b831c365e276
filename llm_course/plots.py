"""The course's pictures: each function draws what it is given and computes nothing hidden.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; maps use viridis.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from llm_course.training import History

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE)
LOSS_LABEL = "loss (nats per character)"


def visible(character: str) -> str:
    """Return a sign that can be seen: ↵ for the line end, ␣ for the space, others as they are."""
    return {"\n": "↵", " ": "␣", "\t": "⇥"}.get(character, character)


def new_axes(width: float = 7.0, height: float = 4.0) -> Axes:
    """Return empty axes in a figure of their own (sizes in inches)."""
    return side_by_side(1, width, height)[0]


def side_by_side(n: int, width: float = 9.0, height: float = 3.5) -> list[Axes]:
    """Return n empty axes in one figure (sizes in inches), without frame lines above and right."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(1, n, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_prop_cycle(color=COLOURS)
    return axes


def plot_losses(
    histories: Mapping[str, History],
    references: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw validation (full) and training (dotted) loss against steps, with named reference lines."""
    ax = ax or new_axes()
    for colour, (name, history) in zip(COLOURS * 9, histories.items(), strict=False):
        ax.plot(history.steps, history.val_loss, color=colour, label=f"{name}, validation")
        ax.plot(history.steps, history.train_loss, ":", color=colour, label=f"{name}, training")
    for name, loss in (references or {}).items():
        ax.axhline(loss, color=GREY, linewidth=0.8, linestyle="--")
        ax.annotate(
            f" {name} {loss:.2f}",
            (1, loss),
            xycoords=("axes fraction", "data"),
            va="center",
            color=GREY,
            fontsize=9,
        )
    ax.set(xlabel="training steps", ylabel=LOSS_LABEL)
    ax.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return ax.figure


def plot_heatmap(
    values: ArrayLike,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    row_name: str,
    column_name: str,
    value_name: str,
    vmax: float | None = None,
    gamma: float = 1.0,
    ax: Axes | None = None,
) -> Figure:
    """Draw a matrix as colours from 0 to `vmax`; rows run downwards, both sides carry their labels.

    With `gamma` below 1, small values get more of the colours: 0.5 is a square-root scale.
    """
    values = np.asarray(values)
    if values.shape != (len(row_labels), len(column_labels)):
        raise ValueError(
            f"a matrix of shape {values.shape} does not fit {len(row_labels)} row labels "
            f"and {len(column_labels)} column labels"
        )
    ax = ax or new_axes(8.5, 8.0)
    image = ax.imshow(values, norm=PowerNorm(gamma, vmin=0, vmax=vmax), cmap="viridis")
    style = {"fontsize": 10 if max(values.shape) <= 32 else 8, "family": "monospace"}
    ax.set_xticks(range(len(column_labels)), map(visible, column_labels), **style)
    ax.set_yticks(range(len(row_labels)), map(visible, row_labels), **style)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlabel=column_name, ylabel=row_name)
    ax.figure.colorbar(image, ax=ax, label=value_name, shrink=0.7)
    return ax.figure


def plot_bars(
    values: ArrayLike,
    labels: Sequence[str],
    *,
    label_name: str,
    value_name: str,
    ax: Axes | None = None,
) -> Figure:
    """Draw one bar a label, in the order given."""
    ax = ax or new_axes(8.5, 3.2)
    ax.bar(range(len(labels)), np.asarray(values), color=BLUE)
    size = 8 if len(labels) > 32 else 11
    ax.set_xticks(range(len(labels)), map(visible, labels), fontsize=size, family="monospace")
    ax.tick_params(axis="x", length=0)
    ax.margins(x=0.01)
    ax.set(xlabel=label_name, ylabel=value_name)
    return ax.figure


def plot_windows(panels: Mapping[str, Sequence[str]], marked: int | None = None) -> Figure:
    """Draw windows of text as rows of characters, one panel a name; row `marked` is coloured."""
    all_axes = side_by_side(len(panels), 9.0, 2.6)
    for ax, (name, windows) in zip(all_axes, panels.items(), strict=True):
        for b, window in enumerate(windows):
            for t, character in enumerate(window):
                box = {
                    "boxstyle": "square,pad=0.5",
                    "ec": GREY,
                    "fc": "#FFF3D6" if b == marked else "white",
                }
                ax.text(
                    t,
                    b,
                    visible(character),
                    ha="center",
                    va="center",
                    family="monospace",
                    fontsize=11,
                    bbox=box,
                )
        ax.set(title=name, xlabel="place in the window, t", ylabel="window, b")
        ax.set(xlim=(-0.6, len(windows[0]) - 0.4), ylim=(len(windows) - 0.4, -0.6))
        ax.set_xticks(range(len(windows[0])))
        ax.set_yticks(range(len(windows)))
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    return all_axes[0].figure


def plot_ngram_losses(
    orders: Sequence[int],
    val_losses: Sequence[float],
    train_losses: Sequence[float],
    *,
    best_possible: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the losses of counting tables against how many characters they look at, the best one marked."""
    ax = ax or new_axes()
    ax.plot(orders, val_losses, "o-", color=BLUE, label="validation")
    ax.plot(orders, train_losses, "s:", color=BLUE, fillstyle="none", label="training")
    best = int(np.argmin(val_losses))
    ax.annotate(
        f"best: order {orders[best]}, {val_losses[best]:.2f}",
        (orders[best], val_losses[best]),
        xytext=(0, 28),
        textcoords="offset points",
        ha="center",
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    if best_possible is not None:
        ax.axhline(best_possible, color=GREEN, linestyle="--", label="best possible")
    ax.set(xlabel="order n (characters in a run)", ylabel=LOSS_LABEL, xticks=orders, ylim=(0, None))
    ax.legend(frameon=False)
    return ax.figure


def plot_attention(maps: Float[Tensor, "L H T T"], text: str, gamma: float = 1.0) -> Figure:
    """Draw every layer's (down) and head's (across) attention: queries in rows, keys in columns.

    With `gamma` below 1, small weights get more of the colours: 0.5 is a square-root scale.
    """
    n_layer, n_head, length, _ = maps.shape
    if length != len(text):
        raise ValueError(f"maps of {length} characters do not fit a text of {len(text)}")
    side = max(2.6, 0.19 * length) if n_layer * n_head > 1 else max(4.0, 0.24 * length)
    figure = Figure(
        figsize=(side * n_head + 1, side * n_layer + 0.6), dpi=100, layout="constrained"
    )
    labels = [visible(character) for character in text]
    style = {"fontsize": 9 if n_layer * n_head == 1 else 7, "family": "monospace"}
    grid = figure.subplots(n_layer, n_head, squeeze=False)
    for layer in range(n_layer):
        for head in range(n_head):
            ax = grid[layer, head]
            norm = PowerNorm(gamma, vmin=0, vmax=1)
            image = ax.imshow(maps[layer, head].numpy(force=True), norm=norm, cmap="viridis")
            ax.set_xticks(range(length), labels, **style)
            ax.set_yticks(range(length), labels, **style)
            ax.tick_params(length=0)
            if n_layer * n_head > 1:
                ax.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=10)
    figure.supxlabel("key: the character looked at")
    figure.supylabel("query: the character that looks")
    figure.colorbar(image, ax=grid, label="attention weight", shrink=0.7)
    return figure


def plot_ladder(rungs: Mapping[str, str], n_reached: int, ax: Axes | None = None) -> Figure:
    """Draw the course's models as a stair, {model: what is new}; the first `n_reached` are filled."""
    ax = ax or new_axes(9.0, 4.2)
    for step, (model, news) in enumerate(rungs.items()):
        reached = step < n_reached
        ax.bar(step, step + 1, width=0.97, color=BLUE if reached else "#D6E6F2")
        ax.text(step, step + 1.08, model, ha="center", va="bottom", fontweight="bold", fontsize=10)
        ax.text(
            step,
            0.5,
            news,
            ha="center",
            va="center",
            fontsize=9,
            color="white" if reached else "black",
        )
    ax.set(ylim=(0, len(rungs) + 0.8), yticks=[], xticks=[])
    ax.spines[:].set_visible(False)
    return ax.figure
