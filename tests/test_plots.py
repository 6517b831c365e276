import numpy as np
import pytest
import torch

from llm_course.plots import (
    new_axes,
    plot_attention,
    plot_bars,
    plot_heatmap,
    plot_ladder,
    plot_losses,
    plot_ngram_losses,
    visible,
)
from llm_course.training import History


def test_characters_that_cannot_be_seen_get_a_sign():
    assert [visible(c) for c in "\n\t a"] == ["↵", "⇥", "␣", "a"]


def test_losses_are_drawn_as_given():
    history = History([0, 10], [0, 80], [0.0, 1.0], [4.0, 2.0], [4.1, 2.5])
    axes = plot_losses({"bigram": history}, {"uniform": 4.17}).axes[0]
    val, train, line = axes.lines
    np.testing.assert_array_equal(val.get_xydata(), [[0, 4.1], [10, 2.5]])
    np.testing.assert_array_equal(train.get_ydata(), [4.0, 2.0])
    assert set(line.get_ydata()) == {4.17}
    assert axes.texts[0].get_text() == " uniform 4.17"
    assert "nats" in axes.get_ylabel() and axes.get_xlabel()


def test_a_heatmap_has_rows_downwards_and_begins_at_zero():
    figure = plot_heatmap(
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], ["a", "\n"], ["x", "y", " "],
        row_name="this", column_name="next", value_name="share",
    )  # fmt: skip
    axes, bar = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "↵"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "␣"]
    assert axes.images[0].get_clim() == (0, 6)
    assert (
        axes.get_ylabel() == "this" and axes.get_xlabel() == "next" and bar.get_ylabel() == "share"
    )
    with pytest.raises(ValueError, match=r"\(2, 2\) does not fit 1 row labels and 2"):
        plot_heatmap(np.ones((2, 2)), "a", "xy", row_name="", column_name="", value_name="")


def test_bars_stand_over_their_labels():
    axes = plot_bars([0.25, 0.75], ["a", " "], label_name="character", value_name="share").axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.75]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "␣"]


def test_the_best_table_is_marked():
    axes = plot_ngram_losses([1, 2, 3], [3.0, 2.0, 2.5], [3.0, 1.9, 1.0], best_possible=0.9).axes[0]
    assert axes.texts[0].get_text() == "best: order 2, 2.00"
    assert axes.texts[0].xy == (2, 2.0)
    assert set(axes.lines[2].get_ydata()) == {0.9}


def test_the_ladder_fills_what_was_reached():
    axes = plot_ladder({"a": "one", "b": "two"}, 1).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [1, 2]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()


def test_pictures_go_where_they_are_told():
    axes = new_axes()
    assert plot_bars([1.0], ["a"], label_name="", value_name="", ax=axes) is axes.figure


def test_attention_is_drawn_with_queries_down_and_keys_across():
    maps = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).tril()
    figure = plot_attention(maps, "ab \n")
    panels = figure.axes[:-1]
    assert [ax.get_title() for ax in panels[:4:3]] == ["layer 1, head 1", "layer 2, head 1"]
    np.testing.assert_allclose(panels[4].images[0].get_array(), maps[1, 1].numpy())
    assert panels[0].images[0].get_clim() == (0, 1)
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["a", "b", "␣", "↵"]
    assert figure.get_supxlabel().startswith("key") and figure.get_supylabel().startswith("query")
    with pytest.raises(ValueError, match="maps of 4 characters do not fit a text of 3"):
        plot_attention(maps, "abc")
