"""Teaching a trained decoder something new: examples in place of a stream, and the loop for them."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.evaluation import evaluate, evaluating
from llm_course.generation import stream_texts
from llm_course.models.decoder_classifier import DecoderClassifier
from llm_course.optimizers import make_optimizers
from llm_course.speakers import Speech
from llm_course.tokenizers import CharTokenizer
from llm_course.train_config import TrainConfig

IGNORED = -100  # a target that counts for nothing: cross_entropy's own sign for it
END = "\n\n"  # ends an answer, as it ends a speech in the plays


def finetune(
    model: nn.Module,
    n_examples: int,
    loss_of: Callable[[Int[Tensor, " B"]], Float[Tensor, ""]],
    config: TrainConfig,
) -> list[float]:
    """Train what may learn in a model on examples 0 to n − 1; return the loss of every step.

    The examples come in random order, all of them once before any comes again; where there are fewer than
    `batch_size`, a batch has all of them. `loss_of(chosen)` is the loss of some of them. Dropout draws from
    PyTorch's global generator, which is seeded here. Muon, micro-batches and `max_grad_norm` are a
    ValueError.
    """
    if config.max_grad_norm or config.muon_rate or config.micro_batches > 1:
        raise ValueError(
            "this loop knows plain AdamW alone: leave out max_grad_norm, muon_rate and micro_batches"
        )
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    (optimizer,) = make_optimizers(model, config.learning_rate, None, config.weight_decay)
    losses: list[float] = []
    waiting = torch.empty(0, dtype=torch.long)
    model.train()
    for step in range(1, config.steps + 1):
        if len(waiting) < config.batch_size:
            waiting = torch.cat([waiting, torch.randperm(n_examples, generator=generator)])
        chosen, waiting = waiting[: config.batch_size], waiting[config.batch_size :]
        optimizer.param_groups[0]["lr"] = config.learning_rate_at(step)
        loss = loss_of(chosen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


class Windows:
    """Texts, each cut into windows of T characters side by side; the last ends with its text."""

    def __init__(self, texts: Sequence[str], tokenizer: CharTokenizer, context_length: int) -> None:
        windows, self.first = [], [0]
        for text in texts:
            if len(text) < context_length:
                raise ValueError(
                    f"a text of {len(text)} characters does not fill a window of {context_length}"
                )
            starts = range(0, len(text) - context_length, context_length)
            tokens = tokenizer.encode(text)
            cut = [tokens[start : start + context_length] for start in starts]
            windows += [*cut, tokens[-context_length:]]
            self.first.append(len(windows))
        self.windows = torch.stack(windows)

    def __len__(self) -> int:
        return len(self.first) - 1

    def of(self, chosen: Int[Tensor, " B"]) -> tuple[Int[Tensor, "N T"], Int[Tensor, " N"]]:
        """Return the windows of some texts, and for each window which of these texts it belongs to."""
        parts = [self.windows[self.first[i] : self.first[i + 1]] for i in chosen.tolist()]
        text_of = [torch.full((len(part),), b) for b, part in enumerate(parts)]
        return torch.cat(parts), torch.cat(text_of)


def all_features(classifier: DecoderClassifier, texts: Windows) -> Float[Tensor, "B C"]:
    """Return the features of all texts, without dropout and gradients."""
    with evaluating(classifier):
        return torch.cat(
            [classifier.features(*texts.of(part)) for part in torch.arange(len(texts)).split(16)]
        )


def all_logits(classifier: DecoderClassifier, texts: Windows) -> Float[Tensor, "B K"]:
    """Return the logits of all texts, without dropout and gradients."""
    with evaluating(classifier):
        return torch.cat(
            [classifier(*texts.of(part)) for part in torch.arange(len(texts)).split(16)]
        )


def fit_head(
    classifier: DecoderClassifier, texts: Windows, labels: Int[Tensor, " B"], config: TrainConfig
) -> list[float]:
    """Train the head alone, on features that are computed once; return the loss of every step."""
    features = all_features(classifier, texts)
    classifier.standardise(features)
    features = (features - classifier.shift) / classifier.scale

    def loss_of(chosen: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        return F.cross_entropy(
            classifier.head(classifier.dropout(features[chosen])), labels[chosen]
        )

    return finetune(classifier, len(texts), loss_of, config)


def text_losses(
    model: nn.Module, texts: Sequence[str], tokenizer: CharTokenizer
) -> Float[Tensor, " N"]:
    """Return how many nats each text costs in all, a line end before it, as `evaluate` measures."""
    return torch.tensor(
        [evaluate(model, tokenizer.encode("\n" + text)) * len(text) for text in texts]
    )


def prompt_for(speaker: str) -> str:
    """Return the instruction to say something as this speaker."""
    return f"as {speaker}: "


def as_example(
    tokenizer: CharTokenizer, prompt: str, answer: str, context_length: int
) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"]]:
    """Return prompt, answer and end mark as inputs, and their targets, one token later, filled up.

    Only the answer and its end are to be learned: the targets of the prompt and of what fills up are
    `IGNORED`.
    """
    tokens = tokenizer.encode(prompt + answer + END)
    if len(tokens) > context_length + 1:
        raise ValueError(
            f"prompt, answer and end mark are {len(tokens)} tokens, and a window of {context_length} with "
            f"its last target has room for {context_length + 1}: give a shorter answer"
        )
    targets = tokens[1:].clone()
    targets[: max(0, len(prompt) - 1)] = IGNORED
    n_missing = context_length - len(targets)
    return F.pad(tokens[:-1], (0, n_missing)), F.pad(targets, (0, n_missing), value=IGNORED)


def as_examples(
    speeches: Sequence[Speech],
    speakers: Sequence[str],
    tokenizer: CharTokenizer,
    context_length: int,
    asked: str | None = None,
) -> tuple[Int[Tensor, "N T"], Int[Tensor, "N T"], Int[Tensor, " N"]]:
    """Return all lines of the speeches as examples, and the numbers of those who say them.

    The prompts name who says the line, or else always the one who is `asked`. Lines that would not fit
    behind the longest name are left out; ValueError where none is left.
    """
    longest = context_length + 1 - len(END) - max(len(prompt_for(name)) for name in speakers)
    pairs, owners = [], []
    for speech in speeches:
        for line in speech.text.split("\n"):
            if 0 < len(line) <= longest:
                prompt = prompt_for(asked or speech.speaker)
                pairs.append(as_example(tokenizer, prompt, line, context_length))
                owners.append(speakers.index(speech.speaker))
    if not pairs:
        raise ValueError(
            f"no line fits a window of {context_length}: give shorter lines, or a longer window"
        )
    inputs, targets = (torch.stack(part) for part in zip(*pairs, strict=True))
    return inputs, targets, torch.tensor(owners)


def answer_losses(
    model: nn.Module, inputs: Int[Tensor, "N T"], targets: Int[Tensor, "N T"]
) -> Float[Tensor, " N"]:
    """Return the loss of each example, nats per character of its answer and end mark."""
    losses = []
    for some_inputs, some_targets in zip(inputs.split(128), targets.split(128), strict=True):
        with evaluating(model):
            logits, _ = model(some_inputs)
        loss = F.cross_entropy(logits.transpose(1, 2), some_targets, reduction="none")
        losses.append(loss.sum(dim=1) / (some_targets != IGNORED).sum(dim=1))
    return torch.cat(losses)


def sample_answers(
    model: nn.Module, tokenizer: CharTokenizer, speakers: Sequence[str], n_each: int, seed: int
) -> list[str]:
    """Return `n_each` answers of every speaker, in order, each up to what fits into the window."""
    prompts = [prompt_for(speaker) for speaker in speakers for _ in range(n_each)]
    room = model.config.context_length - max(map(len, prompts)) + 1
    pieces = list(stream_texts(model, tokenizer, prompts, room, seed=seed))
    return ["".join(letters) for letters in zip(*pieces, strict=True)]


def is_well_formed(answer: str) -> bool:
    """Return whether an answer is one line that was ended by the end mark."""
    line, end, _ = answer.partition(END)
    return bool(end) and bool(line) and "\n" not in line
