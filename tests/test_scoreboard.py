import math

from llm_course.data import Corpus
from llm_course.recipes import LADDER, VARIANTS
from llm_course.scoreboard import Row, Scoreboard, beyond_part_one, load_recorded, scoreboard_before


def test_rows_keep_their_order_and_are_replaced_by_name():
    board = Scoreboard()
    board.add("uniform", math.log(65), parameters=0, seconds=0.0)
    board.add("bigram", 2.6, parameters=10, seconds=1.0)
    board.add("unigram", 3.3, parameters=65, seconds=0.1)
    board.add("bigram", 2.5, parameters=4225, seconds=2.0)
    assert [row.model for row in board.rows] == ["uniform", "bigram", "unigram"]
    assert board.best() == Row("bigram", 2.5, 4225, 2.0)


def test_it_prints_as_text_and_as_a_table():
    board = Scoreboard([Row("uniform", math.log(65), 0), Row("bigram", 2.5, 4225, 1.25)])
    assert str(board).splitlines()[1].split() == ["uniform", "0", "–", "4.174", "6.02", "65.0"]
    lines = board._repr_markdown_().splitlines()
    assert lines[2] == "| uniform | 0 | – | 4.174 | 6.02 | 65.0 |"
    assert lines[3] == "| **bigram** | **4,225** | **1.2** | **2.500** | **3.61** | **12.2** |"


def test_the_recorded_one_holds_every_table_and_rung():
    board, made = load_recorded()
    models = [row.model for row in board.rows]
    assert models[:8] == [f"{order}-gram table" for order in range(1, 9)]
    assert models[8:] == list(LADDER)
    assert set(made) == {"command", "commit", "date", "machine", "corpus"}
    assert all(0 < row.loss < math.log(65) for row in board.rows)


def test_a_notebook_gets_the_rows_above_its_own(capsys):
    rows = scoreboard_before("single-head", Corpus("Tiny Shakespeare", "", "")).rows
    assert [row.model for row in rows][-2:] == ["8-gram table", "bigram"]
    assert scoreboard_before("single-head", Corpus("Practice corpus", "", "")).rows == []
    assert "measured on Tiny Shakespeare" in capsys.readouterr().err


def test_what_came_after_the_ladder():
    ladder = load_recorded()[0]
    later = {row.model: row for row in beyond_part_one()}
    assert list(later)[:2] == ["modern", "decoder, 1,024 subwords"]
    better = list(later.values())[:2]
    assert all(row.loss < ladder.best().loss - 0.05 for row in better)
    for name in VARIANTS:
        row = later[f"decoder, {name}"]
        assert abs(row.loss - ladder.best().loss) < 0.05 and row.seconds is None
    assert later["decoder, local"].parameters == 619_904 > later["decoder, multi-query"].parameters
    assert later["decoder, 1,024 subwords"].parameters == 865_408
