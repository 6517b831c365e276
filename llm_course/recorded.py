"""What was measured earlier, by `make results`, since it takes longer than a notebook should."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"


def load_rows(name: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the rows of results/<name>.json, and by which command, when and on what they were measured."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        raise FileNotFoundError(
            f"There are no recorded results at {file}. Run `make results` in the course's folder."
        )
    recorded = json.loads(file.read_text(encoding="utf-8"))
    return recorded["rows"], recorded["made"]
