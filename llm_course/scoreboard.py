"""The scoreboard: every model that was met so far, judged by the same measure."""

import math
from dataclasses import asdict, dataclass

from llm_course.data import Corpus
from llm_course.download import note
from llm_course.evaluation import bits, perplexity
from llm_course.recipes import RECIPES, VARIANTS, build
from llm_course.recorded import load_rows


@dataclass(frozen=True)
class Row:
    """One model: its loss in nats per character, how many numbers it keeps, the seconds to make it."""

    model: str
    loss: float
    parameters: int
    seconds: float | None = None


class Scoreboard:
    """Rows in the order they were added; it prints as text, and Jupyter shows the best in bold."""

    HEAD = ("model", "parameters", "seconds", "nats per character", "bits", "perplexity")

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows = list(rows or [])

    def add(
        self, model: str, loss: float, *, parameters: int, seconds: float | None = None
    ) -> None:
        """Add a row; a model that has one already gets a new value in its old place."""
        row = Row(model, loss, parameters, seconds)
        names = [old.model for old in self.rows]
        if model in names:
            self.rows[names.index(model)] = row
        else:
            self.rows.append(row)

    def best(self) -> Row:
        """Return the row with the lowest loss."""
        return min(self.rows, key=lambda row: row.loss)

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                row.model,
                f"{row.parameters:,}",
                "–" if row.seconds is None else f"{row.seconds:.1f}",
                f"{row.loss:.3f}",
                f"{bits(row.loss):.2f}",
                f"{perplexity(row.loss):.1f}",
            )
            for row in self.rows
        ]

    def __repr__(self) -> str:
        lines = [self.HEAD, *self._cells()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.HEAD))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )

    def _repr_markdown_(self) -> str:
        rule = ("---", *["---:"] * (len(self.HEAD) - 1))
        lines = [self.HEAD, rule, *self._cells()]
        if self.rows:
            best = len(lines) - len(self.rows) + self.rows.index(self.best())
            lines[best] = tuple(f"**{cell}**" for cell in lines[best])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def to_json(self) -> list[dict[str, str | float | None]]:
        """Return the rows as plain data."""
        return [asdict(row) for row in self.rows]


def load_recorded() -> tuple[Scoreboard, dict[str, str]]:
    """Return the scoreboard that `make results` recorded, and how, when and where it was made."""
    rows, made = load_rows("scoreboard")
    return Scoreboard([Row(**row) for row in rows]), made


def beyond_part_one() -> list[Row]:
    """Return the recorded models that came after the ladder, each the middle one of its seeds."""
    bench = {(row["what"], row["unit"]): row["median"] for row in load_rows("bench")[0]}
    n_parameters = sum(parameter.numel() for parameter in build("modern", 65).parameters())
    rows = [Row("modern", bench["modern", "nats"], n_parameters, bench["modern", "s"])]
    steps = RECIPES["decoder"].training.steps
    whole = [row for row in load_rows("subwords")[0] if row["steps"] == steps]
    middle = sorted(whole, key=lambda row: row["loss"])[len(whole) // 2]
    loss = middle["bits per byte"] * math.log(2)  # in this text, a character is a byte
    rows.append(Row("decoder, 1,024 subwords", loss, middle["parameters"], middle["seconds"]))
    variants = load_rows("variants")[0]
    for name in VARIANTS:  # their seconds were not measured alone
        its = [row for row in variants if row["attention"] == name]
        middle = sorted(its, key=lambda row: row["loss"])[len(its) // 2]
        rows.append(Row(f"decoder, {name}", middle["loss"], middle["parameters"]))
    return rows


def scoreboard_before(model: str, corpus: Corpus) -> Scoreboard:
    """Return the recorded rows that stand above `model`, or none where the corpus is another one."""
    recorded, made = load_recorded()
    if not made["corpus"].startswith(corpus.name):
        note(f"the recorded rows are left out: they were measured on {made['corpus']}.")
        return Scoreboard()
    names = [row.model for row in recorded.rows]
    return Scoreboard(recorded.rows[: names.index(model) if model in names else None])
