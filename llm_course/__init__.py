"""Large Language Models from Scratch: the small package that the course's notebooks import.

Imports run one way: data and tokenizers ← models ← training and generation ← plots ← notebooks.
"""

__version__ = "0.2.0"  # the only place: pyproject.toml reads it here


def made_for(version: str) -> None:
    """Say so if the package is not of the version, such as "0.2", that a notebook was written for.

    A learner's copy of a notebook stays as it is when the package is renewed, and may not fit it then.
    """
    here = __version__.rpartition(".")[0]
    if version == here:
        return
    is_old_copy = [int(part) for part in version.split(".")] < [
        int(part) for part in here.split(".")
    ]
    remedy = (
        "To get the notebook that fits, rename your copy and run `make lab` again"
        if is_old_copy
        else "To get the package that fits, run `git pull` in the course's folder, then `make lab`"
    )
    print(
        f"This notebook was written for version {version} of the course, and the package here has "
        f"version {__version__}: some cells may fail, and some numbers be others. {remedy} (without "
        "make: `python tools/lab.py`)."
    )
