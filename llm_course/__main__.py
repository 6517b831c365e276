"""The command line: what the notebooks do, without a notebook."""

import argparse
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from llm_course.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_pretrained,
    save_checkpoint,
)
from llm_course.data import load_corpus, split
from llm_course.download import CorpusError, copy_corpus, locate, note, read_tiny_shakespeare
from llm_course.evaluation import bits, evaluate, perplexity
from llm_course.generation import generate_text, stream_texts
from llm_course.recipes import RECIPES, build
from llm_course.sampling import Sampling
from llm_course.scoreboard import load_recorded
from llm_course.tensor_file import CheckpointError, check_place, previous
from llm_course.tokenizers import CharTokenizer
from llm_course.training import DivergedError, train

RUNS = Path("runs")


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
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _data(options: argparse.Namespace) -> None:
    if options.to is None:
        file = locate(try_again=True)
        read_tiny_shakespeare(file)
        print(f"Tiny Shakespeare is at {file}")
        return
    file = copy_corpus(options.to)
    print(f"{file} is ready. Hand the folder around, and set on each machine:")
    print(f"  LLM_COURSE_DATA={file.parent.resolve()}")


def _train(options: argparse.Namespace) -> None:
    corpus = load_corpus(options.text)
    tokenizer = CharTokenizer(corpus.text)
    data = split(tokenizer.encode(corpus.text))
    name = re.sub(r"\W+", "-", corpus.name.lower()).strip("-")
    path = options.out or RUNS / f"{options.model}-{name}.safetensors"
    check_place(path)
    unfinished = path.with_suffix(".training")
    model = build(options.model, tokenizer.vocab_size, options.seed)
    config = replace(RECIPES[options.model].training, seed=options.seed)
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    print(f"{corpus.name}: {len(corpus.text):,} characters, {tokenizer.vocab_size} different ones")
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{options.model}: {n_parameters:,} parameters, {config.steps:,} steps")
    history = train(model, data, config, checkpoint=unfinished, resume=options.resume)
    if history.steps[-1] < config.steps:
        print(f"{unfinished} keeps it; the same command with --resume goes on", file=sys.stderr)
        raise KeyboardInterrupt
    loss = evaluate(model, data.val)  # along training, part of the windows may be enough
    about = {"corpus": corpus.name, "loss": f"{loss:.4f}", "steps": str(config.steps)}
    if path.exists():
        note(f"{path} was there already, and is kept as {previous(path).name}.")
    save_checkpoint(path, options.model, model, tokenizer, about, keep_previous=True)
    for file in (unfinished, previous(unfinished)):
        file.unlink(missing_ok=True)
    print(f"validation loss {_measured(loss)}, after {history.seconds[-1]:.1f} s of training")
    print(f"saved as {path}\n\nA sample:")
    prompt = _line_end(tokenizer)
    print(generate_text(model, tokenizer, prompt, n_tokens=200, seed=options.seed).lstrip("\n"))


def _evaluate(options: argparse.Namespace) -> None:
    model, tokenizer, about = _load(options.model)
    corpus = load_corpus(options.text)
    loss = evaluate(model, split(tokenizer.encode(corpus.text)).val)
    print(f"trained on {about['corpus']}, judged on the last 10 % of {corpus.name}:")
    print(f"validation loss {_measured(loss)}")


def _generate(options: argparse.Namespace) -> None:
    model, tokenizer, _ = _load(options.model)
    prompt = _line_end(tokenizer) if options.prompt is None else options.prompt
    sampling = Sampling(options.temperature, options.top_k, options.top_p)
    pieces = stream_texts(
        model, tokenizer, [prompt], options.length, seed=options.seed, sampling=sampling
    )
    first = next(pieces)  # what is wrong with the request shows before anything is written
    print(prompt, *first, sep="", end="", flush=True)
    for piece in pieces:
        print(*piece, end="", flush=True)
    print()


def _scoreboard(options: argparse.Namespace) -> None:
    scoreboard, made = load_recorded()
    print(
        f"Recorded on {made['date']} by `{made['command']}` ({made['machine']}), {made['corpus']}"
    )
    print(scoreboard)


def _line_end(tokenizer: CharTokenizer) -> str:
    """Return what a text begins after where nobody says it: a line end, if the model knows it."""
    return "\n" if "\n" in tokenizer.characters else tokenizer.characters[0]


def _load(path: Path | None) -> Checkpoint:
    """Load the model at `path`, else the one trained last in this folder, else the course's own."""
    if path is not None:
        return load_checkpoint(path)
    saved = sorted(RUNS.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    if saved:
        return load_checkpoint(saved[-1])
    note(
        "no model was trained in this folder yet, so this is the decoder that ships with the course."
    )
    return load_pretrained()


def _measured(loss: float) -> str:
    return (
        f"{loss:.3f} nats per character ({bits(loss):.2f} bits, perplexity {perplexity(loss):.1f})"
    )


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

    data = command("data", _data, "get Tiny Shakespeare, or copy it into a folder for a class")
    data.add_argument("--to", type=Path, metavar="DIR", help="the folder to hand around")

    trainer = command("train", _train, "train a model, tell its loss, show what it writes")
    trainer.add_argument("model", choices=sorted(RECIPES), help="which rung of the ladder")
    trainer.add_argument(
        "--steps", type=_at_least(1), help="training steps (default: the course's)"
    )
    trainer.add_argument(
        "--resume", action="store_true", help="go on with a training that was interrupted"
    )
    trainer.add_argument(
        "--out", type=Path, metavar="FILE", help="where to save (default: in runs/)"
    )

    evaluator = command(
        "evaluate", _evaluate, "tell a trained model's loss on text it has not seen"
    )
    generator = command("generate", _generate, "let a trained model write")
    generator.add_argument("--prompt", metavar="TEXT", help="how the text begins")
    generator.add_argument(
        "--length", type=_at_least(1), default=300, help="characters to write (default 300)"
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
    command("scoreboard", _scoreboard, "list all models of the course with their losses")

    for sub in (evaluator, generator):
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
