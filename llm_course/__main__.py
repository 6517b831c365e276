"""The command line: what the notebooks do, without a notebook."""

import argparse
import json
import os
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from llm_course.commands import (
    evaluate_model,
    export_model,
    get_data,
    show_scoreboard,
    train_model,
    write_text,
)
from llm_course.devices import DEVICES
from llm_course.distributed import STRATEGIES
from llm_course.download import CorpusError
from llm_course.recipes import RECIPES
from llm_course.tensor_file import CheckpointError
from llm_course.training import DivergedError, TrainConfig


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; errors are one line on stderr, never a traceback.

    0: done; 1: whoever read the output has left; 2: something asked for cannot be done; 130: stopped.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a sign shows "?" instead
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CorpusError, CheckpointError, DivergedError, OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except (ArithmeticError, MemoryError, RuntimeError) as error:  # PyTorch's: no memory left, say
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"error: {reason}; if a number asked for is huge, try a smaller one", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all errors here do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m llm_course",
        description="Large Language Models from Scratch: what the notebooks do, without a notebook.",
        epilog="Begin with: python -m llm_course train bigram",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    data = command("data", get_data, "get Tiny Shakespeare, or copy it into a folder for a class")
    data.add_argument("--to", type=Path, metavar="DIR", help="the folder to hand around")

    trainer = command("train", train_model, "train a model, tell its loss, show what it writes")
    trainer.add_argument("model", choices=sorted(RECIPES), help="which rung of the ladder")
    trainer.add_argument(
        "--steps", type=_at_least(1), help="training steps (default: the course's)"
    )
    trainer.add_argument(
        "--subwords",
        type=_at_least(256),
        metavar="N",
        help="a vocabulary of N byte-level subwords (default: characters)",
    )
    trainer.add_argument(
        "--resume", action="store_true", help="go on with a training that was interrupted"
    )
    trainer.add_argument(
        "--set",
        type=_setting,
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="change the training: any name of TrainConfig, as batch_size=32; may be repeated",
    )
    trainer.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto: CUDA if there is one, else the CPU"
    )
    trainer.add_argument(
        "--strategy", choices=STRATEGIES, help="how several processes share it, under torchrun"
    )
    trainer.add_argument("--bfloat16", action="store_true", help="shorter numbers in the layers")
    trainer.add_argument("--compile", action="store_true", help="torch.compile the model first")
    trainer.add_argument(
        "--history", type=Path, metavar="FILE", help="write what was measured as JSON"
    )
    trainer.add_argument(
        "--out", type=Path, metavar="FILE", help="where to save (default: in runs/)"
    )

    evaluator = command(
        "evaluate", evaluate_model, "tell a trained model's loss on text it has not seen"
    )
    generator = command("generate", write_text, "let a trained model write")
    generator.add_argument("--prompt", metavar="TEXT", help="how the text begins")
    generator.add_argument(
        "--length",
        type=_at_least(1),
        default=300,
        help="tokens to write: characters, or subwords (default 300)",
    )
    generator.add_argument(
        "--temperature", type=float, default=1.0, help="below 1: safer, above: wilder (default 1)"
    )
    generator.add_argument(
        "--top-k", type=_at_least(1), metavar="K", help="draw from the K likeliest only"
    )
    generator.add_argument(
        "--top-p", type=float, metavar="P", help="draw from the fewest whose chances reach P"
    )
    exporter = command(
        "export", export_model, "write a model as Hugging Face's transformers read it"
    )
    exporter.add_argument("folder", type=Path, metavar="FOLDER", help="where to write it")
    command("scoreboard", show_scoreboard, "list all models of the course with their losses")

    for sub in (evaluator, generator, exporter):
        sub.add_argument(
            "--model",
            type=Path,
            metavar="FILE",
            help="a saved model (default: the latest in runs/, else the course's own decoder)",
        )
    for sub in (trainer, evaluator):
        sub.add_argument(
            "--text", type=Path, metavar="FILE", help="your own text (default: Tiny Shakespeare)"
        )
    for sub in (trainer, generator):
        sub.add_argument(
            "--seed", type=_at_least(0), default=0, help="another number, another run (default 0)"
        )
    return parser


def _setting(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    names = [field.name for field in fields(TrainConfig) if field.name != "seed"]
    if name not in names:
        raise argparse.ArgumentTypeError(f"NAME=VALUE with one of {', '.join(names)}, not {text!r}")
    try:
        return name, json.loads(value.lower().replace("none", "null"))
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"{value!r} is no value for {name}") from None


def _at_least(smallest: int) -> object:
    def whole_number(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or int(text[:20]) < smallest:
            raise argparse.ArgumentTypeError(f"a whole number from {smallest} on, not {text!r}")
        if len(text) > 18:
            raise argparse.ArgumentTypeError(f"a number of at most 18 digits, not {text!r}")
        return int(text)

    return whole_number


if __name__ == "__main__":
    sys.exit(main())
