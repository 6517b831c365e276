"""Measure how fast the course is: `make bench`, on Tiny Shakespeare, with nothing else running.

python tools/bench.py             everything (about fifteen minutes on two cores)
python tools/bench.py PART …      only: machine, throughput, training, precision, generation, attention,
                                  counting, gpu, notebooks

Prints a table and writes results/bench.json; parts that were not run keep what stands there. Generation
is held against `transformers` where that is installed (pip install transformers);
the part gpu needs a CUDA device, and without one says so and measures nothing.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from nanogpt import BATCH_SIZE, NanoGPT, train_as_published  # beside this file
from torch.profiler import ProfilerActivity, profile

from llm_course.data import Split, get_batch, load_corpus, split
from llm_course.evaluation import evaluate, evaluating
from llm_course.generation import generate
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.local_attention import local_attention, masked_attention
from llm_course.models.modern_transformer import ModernConfig, ModernTransformer
from llm_course.models.ngram import NgramTable
from llm_course.models.single_head_attention import future_mask
from llm_course.optimizers import fastest_dtype
from llm_course.recipes import RECIPES, build
from llm_course.tokenizers import CharTokenizer
from llm_course.training import TrainConfig, train
from notebooks import NOTEBOOKS, execute  # beside this file
from results import ROOT, made_by  # beside this file

REPEATS = 3
Rows = Iterator[dict[str, Any]]


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(what: str, unit: str, values: list[float]) -> dict[str, Any]:
    """Return a row: the median of several measurements, the least and the greatest."""
    return {
        "what": what,
        "unit": unit,
        "median": median(values),
        "from": min(values),
        "to": max(values),
        "n": len(values),
    }


def machine(data: Split, vocab_size: int) -> Rows:
    """Measure what the machine can do: matrix products, and reading memory."""
    for dtype in (torch.float32, torch.bfloat16):
        yield spread(f"matrix product, {str(dtype)[6:]}", "GFLOP/s", _peak(dtype))
    numbers = torch.randn(100_000_000)
    rates = [0.4 / seconds_of(numbers.sum) for _ in range(8)][2:]
    yield spread("reading memory", "GB/s", rates)


def _peak(dtype: torch.dtype) -> list[float]:
    """Return how many GFLOP/s products of 1024 × 1024 matrices run at."""
    x = torch.randn(1024, 1024).to(dtype)
    return [2 * 1024**3 / seconds_of(lambda: x @ x) / 1e9 for _ in range(20)][5:]


def throughput(data: Split, vocab_size: int) -> Rows:
    """Compare training steps of one shape: nanoGPT's, 4 layers of width 128, 12 windows of 64."""
    torch.manual_seed(0)
    models = {
        "nanoGPT's model": NanoGPT(vocab_size),
        "the plain decoder": DecoderTransformer(DecoderConfig(vocab_size, n_layer=4)),
        "the modern transformer": build("modern", vocab_size),
    }
    batch = get_batch(data.train, BATCH_SIZE, 64, torch.Generator().manual_seed(0))
    rates: dict[str, list[float]] = {name: [] for name in models}
    for repeat in range(30):
        for name, model in models.items():  # in turns, so that all see the same machine

            def step(model: torch.nn.Module = model) -> None:
                model.zero_grad()
                model(*batch)[1].backward()

            rate = batch[0].numel() / seconds_of(step)
            if repeat >= 5:
                rates[name].append(rate)
    C, L, T = 128, 4, 64  # three times the forward pass of notebook 06, in each of the three
    flops = 3 * (2 * (L * 12 * C**2 + C * vocab_size) + 4 * L * T * C)
    peak = median(_peak(torch.float32))
    for name, values in rates.items():
        yield spread(f"forward and backward, {name}", "tokens/s", values)
        shares = [100 * flops * rate / 1e9 / peak for rate in values]
        yield spread(f"the same, of the float32 peak, {name}", "%", shares)


def training(data: Split, vocab_size: int) -> Rows:
    """Train nanoGPT's recipe and ours, in turns; evaluation is not in the seconds."""
    columns: dict[str, list[float]] = {}
    for seed in range(REPEATS):
        torch.manual_seed(seed)
        opponent = NanoGPT(vocab_size)
        theirs = seconds_of(lambda o=opponent, s=seed: train_as_published(o, data, s))
        columns.setdefault("nanoGPT's recipe|s", []).append(theirs)
        columns.setdefault("nanoGPT's recipe|nats", []).append(evaluate(opponent, data.val))
        for name in ("sprint", "modern"):
            started = time.perf_counter()
            fastest_dtype.cache_clear()  # measuring the precision counts
            model = build(name, vocab_size, seed)
            built = time.perf_counter() - started
            config = RECIPES[name].training
            history = train(model, data, replace(config, seed=seed, eval_every=config.steps))
            ours = built + history.seconds[-1]
            columns.setdefault(f"{name}|s", []).append(ours)
            columns.setdefault(f"{name}|nats", []).append(evaluate(model, data.val))
            columns.setdefault(f"nanoGPT's seconds / those of {name}|times", []).append(
                theirs / ours
            )
    for name, values in columns.items():
        what, unit = name.split("|")
        yield spread(what, unit, values)


def precision(data: Split, vocab_size: int) -> Rows:
    """Train the sprint in bfloat16 and in float32, with three seeds."""
    losses: dict[str, list[float]] = {}
    for seed in range(3):
        for dtype in (torch.float32, torch.bfloat16):
            model = build("sprint", vocab_size, seed)
            model.training_dtype = dtype
            config = RECIPES["sprint"].training
            train(model, data, replace(config, seed=seed, eval_every=config.steps))
            losses.setdefault(f"sprint in {str(dtype)[6:]}", []).append(evaluate(model, data.val))
    for name, values in losses.items():
        yield spread(name, "nats", values)
    means = [sum(values) / len(values) for values in losses.values()]
    yield spread("bfloat16 less float32, means", "nats", [means[1] - means[0]])


def generation(data: Split, vocab_size: int) -> Rows:
    """Write with the cache, without it, and with `transformers`."""
    decoder = build("decoder", vocab_size).eval()
    for n_prompts in (1, 8):
        prompts = data.val[:n_prompts, None]
        rates: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(REPEATS):
            for cached in (True, False):
                rates[cached].append(_tokens_per_second(decoder, prompts, 256, cached))
        for cached, values in rates.items():
            how = "with the cache" if cached else "without it"
            yield spread(f"decoder, {n_prompts} prompts, {how}", "tokens/s", values)
    torch.manual_seed(0)
    large = DecoderTransformer(DecoderConfig(50257, 1024, 768, n_head=12, n_layer=12)).eval()
    prompt = torch.arange(16)[None]
    ours = [_tokens_per_second(large, prompt, 256, True) for _ in range(REPEATS)]
    yield spread("GPT-2's shape (124 M), with the cache", "tokens/s", ours)
    anew = [_tokens_per_second(large, prompt, 32, False) for _ in range(REPEATS)]
    yield spread("GPT-2's shape, without it (32 tokens)", "tokens/s", anew)
    del large
    yield from _by_transformers(prompt)


def _tokens_per_second(
    model: torch.nn.Module, prompts: torch.Tensor, n_tokens: int, cached: bool
) -> float:
    generator = torch.Generator().manual_seed(0)
    work = lambda: generate(model, prompts, n_tokens, generator=generator, cached=cached)  # noqa: E731
    return n_tokens * len(prompts) / seconds_of(work)


def _by_transformers(prompt: torch.Tensor) -> Rows:
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        print("transformers is not installed: GPT-2's shape was not held against it", flush=True)
        return
    model = GPT2LMHeadModel(GPT2Config()).eval()
    mask = torch.ones_like(prompt)
    options = {"max_new_tokens": 256, "min_new_tokens": 256, "do_sample": True, "pad_token_id": 0}
    with evaluating(model):
        rates = [
            256 / seconds_of(lambda: model.generate(prompt, attention_mask=mask, **options))
            for _ in range(REPEATS)
        ]
    yield spread("GPT-2 by transformers, with its cache", "tokens/s", rates)


def attention(data: Split, vocab_size: int) -> Rows:
    """Attend over longer and longer texts: all scores under a mask, by blocks, and PyTorch's own.

    One head of width 32, forward only, a window of 64. Memory is what the tensors hold at most at once,
    beside queries, keys and values.
    """
    for T in (256, 512, 1024, 2048, 4096, 8192):
        torch.manual_seed(0)
        q, k, v = torch.randn(3, 1, 1, T, 32)
        is_hidden = future_mask(T, q.device)
        works: dict[str, Callable[[], Any]] = {
            "full attention": lambda: masked_attention(q, k, v, is_hidden),  # noqa: B023
            "local attention": lambda: local_attention(q, k, v, 64),  # noqa: B023
            "PyTorch's full": lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True),  # noqa: B023
        }
        for name, work in works.items():
            times = [1000 * seconds_of(work) for _ in range(8)][1:]
            yield spread(f"{name}, T = {T}", "ms", times)
            yield spread(f"{name}, T = {T}", "MB", [_peak_memory(work) / 1e6])


def _peak_memory(work: Callable[[], Any]) -> int:
    """Return how many bytes of tensors are held at once at most, of those that `work` takes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in events))


def counting(data: Split, vocab_size: int) -> Rows:
    """Count the tables of all eight orders."""
    tables = lambda: [NgramTable(data.train, vocab_size, order) for order in range(1, 9)]  # noqa: E731
    yield spread("counting tables of orders 1 to 8", "s", [seconds_of(tables) for _ in range(3)])


# nanoGPT's "baby GPT" (1.4697 after about 3 minutes on an A100), with our parts; not tuned on a GPU yet.
BABY = {"context_length": 256, "n_embd": 384, "n_head": 6, "n_layer": 6, "dropout": 0.2}
BABY_TRAINING = TrainConfig(
    steps=1500, batch_size=64, learning_rate=0.008, decay=True, muon_rate=0.02, eval_every=1500
)


def gpu(
    data: Split,
    vocab_size: int,
    device: str = "cuda",
    config: ModernConfig | None = None,
    training: TrainConfig = BABY_TRAINING,
) -> Rows:
    """Train the baby GPT on a CUDA device, as it is and compiled; all but the import is in the seconds."""
    if device == "cuda" and not torch.cuda.is_available():
        print("  there is no CUDA device: not run", flush=True)
        return
    config = config or ModernConfig(vocab_size, **BABY)
    for how in ("as it is", "compiled"):
        torch.manual_seed(0)
        started = time.perf_counter()
        on_device = Split(data.train.to(device), data.val.to(device))
        model = ModernTransformer(config).to(device)
        model.training_dtype = fastest_dtype(torch.device(device))
        if how == "compiled":
            model.compile()
        history = train(model, on_device, training)
        loss = evaluate(model, on_device.val)
        yield spread(f"baby GPT, {how}, all", "s", [time.perf_counter() - started])
        yield spread(f"baby GPT, {how}, steps", "s", [history.seconds[-1]])
        yield spread(f"baby GPT, {how}", "nats", [loss])


def notebooks(data: Split, vocab_size: int) -> Rows:
    """Execute every notebook once."""
    for path in NOTEBOOKS:
        _, seconds, problem = execute(path)
        if problem:
            raise RuntimeError(f"{path.name} failed: {problem}")
        yield spread(path.stem, "s", [seconds])


PARTS = {
    "machine": machine,
    "throughput": throughput,
    "training": training,
    "precision": precision,
    "generation": generation,
    "attention": attention,
    "counting": counting,
    "gpu": gpu,
    "notebooks": notebooks,
}


def main() -> int:
    """Run the parts asked for, print the table, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    corpus = load_corpus()
    if corpus.name != "Tiny Shakespeare":
        print("error: the bench needs Tiny Shakespeare; set LLM_COURSE_DATA", file=sys.stderr)
        return 1
    tokenizer = CharTokenizer(corpus.text)
    data = split(tokenizer.encode(corpus.text))
    file = ROOT / "results" / "bench.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    made = made_by(f"make bench PARTS='{' '.join(chosen)}'", corpus.name)
    for part in chosen:
        print(f"\n{part}", flush=True)
        rows = [row for row in rows if row["part"] != part]
        for row in PARTS[part](data, tokenizer.vocab_size):
            rows.append({"part": part, **row, "date": made["date"], "commit": made["commit"]})
            print(
                f"  {row['what']:45} {row['median']:12,.4g} {row['unit']:10} "
                f"({row['from']:,.4g} to {row['to']:,.4g}, n = {row['n']})",
                flush=True,
            )
        text = json.dumps({"made": made, "rows": rows}, indent=1, allow_nan=False)
        file.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
