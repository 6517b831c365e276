import json

import pytest

from llm_course import recorded
from llm_course.recorded import load_rows


def test_every_result_says_how_it_was_made():
    for file in recorded.RESULTS.glob("*.json"):
        rows, made = load_rows(file.stem)
        assert rows and set(made) == {"command", "commit", "date", "machine", "corpus"}
        assert file.stem.split("_")[0] in made["command"]
        assert not made["commit"].endswith("-dirty")


def test_the_decoder_beats_counting_with_three_seeds():
    losses = [
        row["loss"] for row in load_rows("decoder")[0] if row["training"] == "as in the recipe"
    ]
    assert len(losses) == 3
    assert sum(losses) / 3 <= 1.60 and max(losses) < 1.66  # the best table: 1.669


def test_every_variant_of_the_block_was_measured_everywhere():
    rows, _ = load_rows("blocks")
    places = {(row["block"], row["n_layer"], row["learning rate"]) for row in rows}
    assert len(places) == len(rows) == 4 * 2 * 3


def test_what_was_not_recorded_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"sizes\.json. Run `make results`"):
        load_rows("sizes")
    (tmp_path / "sizes.json").write_text(json.dumps({"made": {"date": "today"}, "rows": [{}]}))
    assert load_rows("sizes") == ([{}], {"date": "today"})


def test_predictions_were_written_down_before_the_large_runs_began():
    rows, _ = load_rows("scaling")
    for corpus, name in (("Tiny Shakespeare", "tiny"), ("Practice corpus", "practice")):
        prediction, large = (
            next(row for row in rows if row["kind"] == kind and row["corpus"] == corpus)
            for kind in ("prediction", "large")
        )
        assert load_rows(f"scaling_prediction_{name}")[0] == [prediction]
        assert prediction["written at"] <= large["began at"]
        assert prediction["from"] <= prediction["loss"] <= prediction["to"]
        assert abs(prediction["loss"] - large["loss"]) < 0.2
