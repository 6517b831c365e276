"""Writing text with a model: one token after another, each drawn from the model's own distribution."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from llm_course.evaluation import evaluating
from llm_course.kv_cache import KVCache, can_cache
from llm_course.sampling import Sampling
from llm_course.tokenizers import Tokenizer


def window_start(n_tokens: int, context_length: int) -> int:
    """Return where in a text of so many tokens the window begins that a model reads.

    At 0 while the text fits. When a window is full, its later half is kept, and the model starts over
    from there: each prediction sees at least half a window where there is one, as in `evaluate`.
    """
    half = max(1, context_length // 2)
    n_too_many = max(0, n_tokens - context_length)
    return -(-n_too_many // half) * half  # rounded up to whole halves


def next_logits(model: nn.Module, texts: Sequence[Int[Tensor, " _"]]) -> Float[Tensor, "B V"]:
    """Return the logits of the token after each text; the texts may be of different lengths."""
    return _last(lambda tokens, counts: model(tokens)[0], [_window(model, text) for text in texts])


class CachedReader:
    """The same logits as `next_logits`, for texts that grow by one token a call, without reading anew.

    Only when a window is full and starts over, or other texts come, all windows are read once more.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.cache: KVCache | None = None
        self.texts: list[Tensor] = []  # of the last call
        self.starts: list[int] = []

    def next_logits(
        self, texts: Sequence[Int[Tensor, " _"]], *, go_on: bool = False
    ) -> Float[Tensor, "B V"]:
        """Return the logits of the token after each text.

        With `go_on` the caller knows that each is the text of the last call and one token more; else
        they are compared.
        """
        starts = [window_start(len(text), self.model.config.context_length) for text in texts]
        if texts and starts == self.starts and (go_on or all(map(_goes_on, self.texts, texts))):
            unread = [text[-1:] for text in texts]
        else:
            self.cache = KVCache(self.model, len(texts))
            unread = [_window(self.model, text) for text in texts]
        self.texts, self.starts = list(texts), starts
        return _last(self.cache.read, unread)


def stream(
    model: nn.Module,
    prompts: Sequence[Int[Tensor, " _"]],
    n_tokens: int,
    *,
    generator: torch.Generator,
    sampling: Sampling | None = None,
    cached: bool | None = None,
) -> Iterator[Int[Tensor, " B"]]:
    """Draw the next token of every prompt `n_tokens` times, and yield them as they come.

    The prompts may be of different lengths. With `cached`, keys and values are kept (`KVCache`): the
    same logits in less time; None means wherever the model allows it.
    """
    if n_tokens < 0:
        raise ValueError(f"n_tokens must not be negative, and is {n_tokens}")
    sampling = sampling or Sampling()
    rows = [F.pad(prompt, (0, n_tokens)) for prompt in prompts]  # room for what is to come
    reader = CachedReader(model) if (can_cache(model) if cached is None else cached) else None
    for n in range(n_tokens):
        texts = [row[: len(row) - n_tokens + n] for row in rows]
        with evaluating(model):
            logits = reader.next_logits(texts, go_on=n > 0) if reader else next_logits(model, texts)
            probs = sampling.probs(logits)
        if probs.is_cpu and not probs.isfinite().all():  # a GPU would have to be waited for
            raise ValueError(
                "the chances are not numbers: damaged weights, or too small a temperature"
            )
        drawn = torch.multinomial(probs, num_samples=1, generator=generator).squeeze(1)
        for row, token in zip(rows, drawn, strict=True):
            row[len(row) - n_tokens + n] = token
        yield drawn


def generate(
    model: nn.Module,
    prompt: Int[Tensor, "B T"],
    n_tokens: int,
    *,
    generator: torch.Generator,
    sampling: Sampling | None = None,
    cached: bool | None = None,
) -> Int[Tensor, "B T_and_n"]:
    """Return prompts of one length with `n_tokens` drawn tokens behind each (see `stream`)."""
    drawn = stream(
        model, list(prompt), n_tokens, generator=generator, sampling=sampling, cached=cached
    )
    return torch.cat([prompt, *(tokens[:, None] for tokens in drawn)], dim=1)


def stream_texts(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    n_tokens: int,
    *,
    seed: int = 0,
    sampling: Sampling | None = None,
    cached: bool | None = None,
) -> Iterator[list[str]]:
    """Yield what comes next in every text, token by token, as the model draws it.

    Where a character has several tokens (a byte each, say), it is yielded with the last of them.
    """
    if isinstance(prompts, str):
        raise ValueError("prompts must be a list of texts; for a single one there is generate_text")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    generator = torch.Generator(device).manual_seed(seed)
    encoded = [tokenizer.encode(prompt).to(device) for prompt in prompts]
    drawn = stream(model, encoded, n_tokens, generator=generator, sampling=sampling, cached=cached)
    numbers: list[list[int]] = [[] for _ in prompts]  # since a whole character was the last
    n_written = [0 for _ in prompts]  # of the characters of these numbers
    for n, tokens in enumerate(drawn, start=1):
        written = []
        for row, token in enumerate(tokens.tolist()):
            numbers[row].append(token)
            text, start = tokenizer.decode(numbers[row]), n_written[row]
            if text.endswith("\ufffd") and n < n_tokens:
                text = text[:-1]  # the last may be the beginning of a character
                n_written[row] = len(text)
            else:
                numbers[row], n_written[row] = [], 0
            written.append(text[start:])
        yield written


def generate_text(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompt: str = "\n",
    n_tokens: int = 200,
    *,
    seed: int = 0,
    sampling: Sampling | None = None,
    cached: bool | None = None,
) -> str:
    """Return the prompt and the text that the model writes behind it; the same seed, the same text."""
    pieces = stream_texts(
        model, tokenizer, [prompt], n_tokens, seed=seed, sampling=sampling, cached=cached
    )
    return prompt + "".join(piece for (piece,) in pieces)


def next_chances(
    model: nn.Module, tokenizer: Tokenizer, text: str, top: int
) -> tuple[Float[Tensor, " top"], str]:
    """Return the chances of the `top` likeliest characters after `text`, and these characters.

    Of a smaller vocabulary, all.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with evaluating(model):
        logits = next_logits(model, [tokenizer.encode(text).to(device)])
    chances, tokens = logits[0].softmax(dim=-1).topk(min(top, logits.shape[-1]))
    return chances, tokenizer.decode(tokens)


def _goes_on(before: Int[Tensor, " _"], text: Int[Tensor, " _"]) -> bool:
    """Return whether a text is the one before and one token more."""
    return torch.equal(text[:-1], before)


def _window(model: nn.Module, text: Int[Tensor, " _"]) -> Int[Tensor, " _"]:
    return text[window_start(len(text), model.config.context_length) :]


def _last(
    read: Callable[[Tensor, list[int]], Float[Tensor, "B T V"]],
    unread: Sequence[Int[Tensor, " _"]],
) -> Float[Tensor, "B V"]:
    """Lay texts as rows of one table, filled up behind their ends, where no place looks; read it.

    Return the logits at the end of each text.
    """
    if not unread or any(len(text) < 1 for text in unread):
        raise ValueError(
            "an empty prompt gives the model nothing to go on: give at least one token"
        )
    counts = [len(text) for text in unread]
    logits = read(pad_sequence(list(unread), batch_first=True), counts)
    return torch.stack([row[n - 1] for row, n in zip(logits, counts, strict=True)])
