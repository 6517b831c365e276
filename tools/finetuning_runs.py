"""What notebook 16 records: who is speaking, asked in several ways, and lines in the manner of somebody.

Settings of the counting, of `full`, of `a LoRA each` and of `four LoRAs each` were chosen on the scenes of
folds 1 and 2; the other three judge. The other settings were not chosen by trying. Seconds are processor
time, of all threads together, so that other work beside it counts little.
"""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm_course.checkpoint import load_pretrained
from llm_course.data import Split
from llm_course.evaluation import evaluate
from llm_course.finetuning import (
    Windows,
    all_logits,
    answer_losses,
    as_examples,
    finetune,
    fit_head,
    is_well_formed,
    sample_answers,
    text_losses,
)
from llm_course.lora import add_lora, merge_lora, n_trainable
from llm_course.models.decoder_classifier import DecoderClassifier
from llm_course.ngram_classifier import NgramClassifier
from llm_course.recipes import RECIPES, build
from llm_course.speakers import Speech, read_speeches, speaker_task, split_by_scene
from llm_course.tokenizers import CharTokenizer
from llm_course.train_config import TrainConfig
from llm_course.training import train

Rows = Iterator[dict[str, Any]]
FOLDS = (0, 3, 4)
HEAD = TrainConfig(steps=300, batch_size=32, learning_rate=1e-2, decay=True)
RATES = {"full": 1e-3, "LoRA": 3e-3}  # of the classifier
ONE_EACH = TrainConfig(
    steps=150, batch_size=16, learning_rate=1.5e-3, decay=True, eval_every=150, eval_windows=1
)
N_LORA = 24_576  # numbers of a LoRA of rank 4 beside all matrices of the decoder
N_EACH = 4
AS = TrainConfig(steps=300, batch_size=32, decay=True)
AS_RATES = {"output layer": 3e-3, "full, a small rate": 2e-4, "full": 2e-3, "LoRA": 3e-3}


def finetuning(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Measure both tasks of notebook 16, on three folds of scenes with a seed each."""
    text = tokenizer.decode(data.train)
    speakers, speeches = speaker_task(text, n_speakers=6, shortest=64)
    for seed, fold in enumerate(FOLDS):
        parts = split_by_scene(speeches, fold)
        others = Split(tokenizer.encode(without_scenes(text, fold)), data.val)
        unread = build("decoder", tokenizer.vocab_size, seed)
        train(unread, others, replace(RECIPES["decoder"].training, seed=seed))
        for row in [
            *who(parts, speakers, data, seed, unread),
            *lines_as(parts, speakers, data, seed),
        ]:
            row = {"fold": fold, "seed": seed, **row}
            print(row, flush=True)
            yield row


def who(
    parts: tuple[list[Speech], ...], speakers: list[str], data: Split, seed: int, unread: nn.Module
) -> Rows:
    """Name the speakers of the speeches that were held out; `unread` has not read their scenes."""
    shipped, tokenizer, _ = load_pretrained()
    texts, labels = zip(*(unzipped(part, speakers) for part in parts), strict=True)

    def row(method: str, logits: Tensor, seconds: float = 0.0, **more: float) -> dict[str, Any]:
        right = (logits.argmax(dim=1) == labels[1]).long().tolist()
        name = {"task": "who", "method": method, "accuracy": sum(right) / len(right)}
        return name | {"seconds": seconds} | more | {"right": "".join(map(str, right))}

    most = torch.bincount(labels[0], minlength=len(speakers)).float()
    yield row("majority", most.expand(len(labels[1]), -1))
    started = time.process_time()
    counting = NgramClassifier(texts[0], labels[0], len(speakers), (4,), 0.1)
    yield row("4-grams", counting.scores(texts[1]), time.process_time() - started)

    cut = [Windows(part, tokenizer, shipped.config.context_length) for part in texts]
    for pooling in ("last", "mean"):
        classifier, seconds = with_head(deepcopy(shipped), cut[0], labels[0], seed, pooling)
        n = n_trainable(classifier.head)
        yield row(f"head, {pooling}", all_logits(classifier, cut[1]), seconds, parameters=n)
    for method in ("full", "LoRA", "full, from scratch"):
        body = (
            build("decoder", tokenizer.vocab_size, seed)
            if "scratch" in method
            else deepcopy(shipped)
        )
        classifier, seconds = with_head(body, cut[0], labels[0], seed)
        body.requires_grad_(True)
        if method == "LoRA":
            torch.manual_seed(seed)
            add_lora(body, 4, 8.0)
        config = TrainConfig(
            steps=300,
            batch_size=8,
            learning_rate=RATES[method.split(",")[0]],
            decay=True,
            seed=seed,
        )
        started = time.process_time()
        finetune(classifier, len(cut[0]), classifier_loss(classifier, cut[0], labels[0]), config)
        seconds += time.process_time() - started
        more = {"parameters": n_trainable(classifier), "val loss": evaluate(body, data.val)}
        yield row(method, all_logits(classifier, cut[1]), seconds, **more)

    for name, body in {"": shipped, ", scenes unread": unread}.items():
        scores, seconds, forgotten = [], 0.0, []
        before = text_losses(body, texts[1], tokenizer)
        for i in range(N_EACH):
            started = time.process_time()
            voices = [
                voice_of(body, speaker, parts[0], tokenizer, N_EACH * seed + i)
                for speaker in speakers
            ]
            losses = torch.stack(
                [text_losses(voice, texts[1], tokenizer) for voice in voices], dim=1
            )
            seconds += time.process_time() - started
            scores.append(-losses)
            forgotten.append(evaluate(voices[-1], data.val))
            if i == 0:
                more = worth_of(losses, labels[1], before, sum(map(len, texts[1])))
                more |= {"parameters": N_LORA * len(speakers), "val loss": forgotten[0]}
                yield row(f"a LoRA each{name}", scores[0], seconds, **more)
        more = {"parameters": N_EACH * N_LORA * len(speakers), "val loss": mean(forgotten)}
        yield row(f"four LoRAs each{name}", torch.stack(scores).mean(dim=0), seconds, **more)


def without_scenes(text: str, fold: int) -> str:
    """Return a text without the scenes that judge in this fold, whoever speaks in them."""
    kept, _ = split_by_scene(read_speeches(text), fold)
    return "\n\n".join(f"{speech.speaker}:\n{speech.text}" for speech in kept)


def voice_of(
    body: nn.Module, speaker: str, part: list[Speech], tokenizer: CharTokenizer, seed: int
) -> nn.Module:
    """Return a decoder that has learned by LoRA to write as one speaker, merged."""
    tokens = tokenizer.encode("\n\n".join(s.text for s in part if s.speaker == speaker))
    model = deepcopy(body)
    torch.manual_seed(seed)
    assert sum(map(n_trainable, add_lora(model, 4, 8.0).values())) == N_LORA
    train(model, Split(tokens, tokens[:1000]), replace(ONE_EACH, seed=seed))
    merge_lora(model)
    return model


def worth_of(losses: Tensor, labels: Tensor, before: Tensor, n_characters: int) -> dict[str, float]:
    """Return nats per character: own voice, own against others, and before, of losses (N, K)."""
    own = losses[torch.arange(len(losses)), labels].sum()
    others = (losses.sum() - own) / (losses.shape[1] - 1)
    told = {"worth": others - own, "loss": own, "before": before.sum()}
    return {name: nats.item() / n_characters for name, nats in told.items()}


def unzipped(part: list[Speech], speakers: list[str]) -> tuple[list[str], Tensor]:
    """Return the texts of some speeches, and the numbers of their speakers."""
    numbers = [speakers.index(speech.speaker) for speech in part]
    return [speech.text for speech in part], torch.tensor(numbers)


def with_head(
    body: nn.Module, cut: Windows, labels: Tensor, seed: int, pooling: str = "mean"
) -> tuple[DecoderClassifier, float]:
    """Return a decoder, frozen, with a trained head, and how long that took."""
    started = time.process_time()
    classifier = DecoderClassifier(body.requires_grad_(False), int(labels.max()) + 1, pooling)
    fit_head(classifier, cut, labels, replace(HEAD, seed=seed))
    return classifier, time.process_time() - started


def classifier_loss(
    classifier: DecoderClassifier, cut: Windows, labels: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the loss of some texts, for `finetune`."""
    return lambda chosen: F.cross_entropy(classifier(*cut.of(chosen)), labels[chosen])


def lines_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the loss of some lines, for `finetune`."""
    return lambda chosen: model(inputs[chosen], targets[chosen])[1]


def lines_as(parts: tuple[list[Speech], ...], speakers: list[str], data: Split, seed: int) -> Rows:
    """Say lines as somebody, before and after learning from lines with their speakers' names."""
    shipped, tokenizer, _ = load_pretrained()
    window = shipped.config.context_length
    inputs, targets, _ = as_examples(parts[0], speakers, tokenizer, window)
    held_out = [as_examples(parts[1], speakers, tokenizer, window, said_by) for said_by in speakers]
    owner = held_out[0][2]
    judge = NgramClassifier(*unzipped(parts[0], speakers), len(speakers), (4,), 0.1)
    for method in ("before", *AS_RATES):
        model, seconds = deepcopy(shipped), 0.0
        if method != "before":
            model.requires_grad_("full" in method)
            model.output.requires_grad_(True)
            torch.manual_seed(seed)
            if method == "LoRA":
                add_lora(model, 4, 8.0)
            config = replace(AS, learning_rate=AS_RATES[method], seed=seed)
            started = time.process_time()
            finetune(model, len(inputs), lines_loss(model, inputs, targets), config)
            seconds = time.process_time() - started
        n_learned = 0 if method == "before" else n_trainable(model)
        merge_lora(model)
        losses = torch.stack([answer_losses(model, *part[:2]) for part in held_out], dim=1)
        own = losses[torch.arange(len(owner)), owner]
        others = (losses.sum(dim=1) - own) / (len(speakers) - 1)
        answers = sample_answers(model, tokenizer, speakers, n_each=50, seed=seed)
        asked = torch.arange(len(speakers)).repeat_interleave(50)
        said = judge.scores([answer.split("\n")[0] for answer in answers]).argmax(dim=1)
        yield {
            "task": "as",
            "method": method,
            "loss": own.mean().item(),
            "worth": (others - own).mean().item(),
            "worth error": (others - own).std().item() / len(own) ** 0.5,
            "n": len(own),
            "well formed": sum(map(is_well_formed, answers)) / len(answers),
            "judged as asked": (said == asked).float().mean().item(),
            "parameters": n_learned,
            "seconds": seconds,
            "val loss": evaluate(model, data.val),
        }
