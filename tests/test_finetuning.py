"""The loop for examples, windows of texts, a head on a decoder, and answers that alone are learned."""

import inspect
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from llm_course.evaluation import evaluate
from llm_course.finetuning import (
    END,
    IGNORED,
    Windows,
    all_logits,
    answer_losses,
    as_example,
    as_examples,
    finetune,
    fit_head,
    is_well_formed,
    prompt_for,
    sample_answers,
    text_losses,
)
from llm_course.lora import add_lora
from llm_course.models.decoder_classifier import DecoderClassifier
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.speakers import Speech
from llm_course.tokenizers import CharTokenizer
from llm_course.train_config import TrainConfig

TOKENIZER = CharTokenizer("abcdefghijs:\n ")
SMALL = DecoderConfig(TOKENIZER.vocab_size, context_length=16, n_embd=12, n_head=3, n_layer=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DecoderTransformer(SMALL).eval()


def test_windows_stand_side_by_side_and_the_last_ends_with_its_text():
    texts = ["abcdefg", "abcd", "abcdefgh"]
    windows = Windows(texts, TOKENIZER, context_length=4)
    assert [TOKENIZER.decode(w) for w in windows.windows] == [
        "abcd",
        "defg",
        "abcd",
        "abcd",
        "efgh",
    ]
    rows, text_of = windows.of(torch.tensor([2, 0]))
    assert [TOKENIZER.decode(w) for w in rows] == ["abcd", "efgh", "abcd", "defg"]
    assert text_of.tolist() == [0, 0, 1, 1] and len(windows) == 3
    with pytest.raises(ValueError, match="a text of 3 characters does not fill a window of 4"):
        Windows(["abc"], TOKENIZER, context_length=4)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_head_sees_what_the_decoder_knew_at_the_end(model, pooling):
    classifier = DecoderClassifier(model, 3, pooling).eval()
    windows = torch.arange(3 * 16).view(3, 16) % 14
    text_of = torch.tensor([0, 1, 1])
    seen = []
    hook = model.norm.register_forward_hook(lambda module, x, result: seen.append(result))
    model(windows)
    hook.remove()
    of_window = seen[0].mean(dim=1) if pooling == "mean" else seen[0][:, -1]
    wanted = torch.stack([of_window[0], (of_window[1] + of_window[2]) / 2])
    features = classifier.features(windows, text_of)
    torch.testing.assert_close(features, wanted)
    assert classifier(windows, text_of).abs().max() == 0  # all are as likely at first
    torch.nn.init.normal_(classifier.head.weight)
    classifier.standardise(features)
    scaled = (features - features.mean(dim=0)) / features.std(dim=0)
    torch.testing.assert_close(classifier(windows, text_of), classifier.head(scaled))


def test_another_pooling_is_named(model):
    unchecked = inspect.unwrap(DecoderClassifier.__init__)  # types are checked in tests alone
    with pytest.raises(ValueError, match="must be 'mean' or 'last', and is 'maximum'"):
        unchecked(DecoderClassifier.__new__(DecoderClassifier), model, 3, "maximum")


def test_one_text_alone_gets_what_it_gets_among_others(model):
    classifier = DecoderClassifier(model, 3)
    torch.nn.init.normal_(classifier.head.weight)
    texts = Windows(["abcdefghij" * n for n in range(2, 25)], TOKENIZER, 16)
    together = all_logits(classifier, texts)
    for i in (0, 17, 22):
        alone = classifier.eval()(*texts.of(torch.tensor([i])))
        torch.testing.assert_close(together[i : i + 1], alone)


def test_finetune_learns_and_changes_only_what_may_learn(model):
    texts = Windows(["ab" * 10, "cd" * 10, "abab" * 8, "cdcd" * 9], TOKENIZER, 16)
    labels = torch.tensor([0, 1, 0, 1])
    add_lora(model, 1, 2.0)
    classifier = DecoderClassifier(model, 2)
    before = deepcopy(classifier.state_dict())

    def loss_of(chosen):
        return F.cross_entropy(classifier(*texts.of(chosen)), labels[chosen])

    config = TrainConfig(steps=60, batch_size=2, learning_rate=0.02, decay=True)
    losses = finetune(classifier, len(texts), loss_of, config)
    assert len(losses) == 60 and losses[0] > 0.5 and losses[-1] < 0.1
    assert all_logits(classifier, texts).argmax(dim=1).tolist() == labels.tolist()
    for name, value in classifier.state_dict().items():
        learns = name.endswith((".A", ".B")) or name.startswith("head")
        assert torch.equal(value, before[name]) != learns, name
    assert not classifier.training


def test_a_head_alone_is_fitted_and_the_decoder_stays(model):
    texts = Windows(["ab" * 10, "cd" * 10, "abab" * 8, "cdcd" * 9], TOKENIZER, 16)
    labels = torch.tensor([0, 1, 0, 1])
    before = deepcopy(model.state_dict())
    classifier = DecoderClassifier(model, 2)
    config = TrainConfig(steps=100, batch_size=4, learning_rate=0.05)
    losses = fit_head(classifier, texts, labels, config)
    assert losses[-1] < 0.1 and all_logits(classifier, texts).argmax(dim=1).tolist() == [0, 1, 0, 1]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_examples_come_all_once_before_any_comes_again_and_the_rate_falls(model):
    seen = []
    config = TrainConfig(steps=6, batch_size=3, learning_rate=0.1, decay=True, seed=3)

    def loss_of(chosen):
        seen.append(chosen.tolist())
        return (
            model.output.weight.sum()
        )  # a gradient of 1, so a step of AdamW is as long as the rate

    before = model.output.weight[0, 0].item()
    finetune(model, 9, loss_of, config)
    first, second = ([i for chosen in part for i in chosen] for part in (seen[:3], seen[3:]))
    assert sorted(first) == sorted(second) == list(range(9)) and first != second
    moved = before - model.output.weight[0, 0].item()
    assert moved == pytest.approx(sum(config.learning_rate_at(s) for s in range(1, 7)), rel=1e-3)


def test_few_examples_are_all_of_a_batch(model):
    seen = []

    def loss_of(chosen):
        seen.append(sorted(chosen.tolist()))
        return model.output.weight.sum()

    finetune(model, 3, loss_of, TrainConfig(steps=2, batch_size=32))
    assert seen == [[0, 1, 2]] * 2


@pytest.mark.parametrize(
    "setting", [{"max_grad_norm": 1.0}, {"muon_rate": 0.02}, {"micro_batches": 2}]
)
def test_what_the_loop_cannot_do_is_refused(model, setting):
    before = deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=f"plain AdamW alone: leave out .*{next(iter(setting))}"):
        finetune(model, 3, lambda _: model.output.weight.sum(), TrainConfig(steps=1, **setting))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_only_the_answer_is_to_be_learned():
    inputs, targets = as_example(TOKENIZER, "ab: ", "cde", context_length=12)
    assert TOKENIZER.decode(inputs[:8]) == "ab: cde\n" and len(inputs) == len(targets) == 12
    learned = targets != IGNORED
    assert TOKENIZER.decode(targets[learned]) == "cde" + END
    assert learned.tolist() == [False] * 3 + [True] * 5 + [False] * 4
    full, _ = as_example(TOKENIZER, "ab: ", "c" * 7, context_length=12)
    assert len(full) == 12
    with pytest.raises(ValueError, match="are 14 tokens, and a window of 12"):
        as_example(TOKENIZER, "ab: ", "c" * 8, context_length=12)


def test_without_a_prompt_all_that_follows_is_to_be_learned():
    _, targets = as_example(TOKENIZER, "", "cde", context_length=6)
    assert TOKENIZER.decode(targets[targets != IGNORED]) == "de" + END


@pytest.mark.parametrize("speeches", [[], [Speech("a", "b" * 99, 0)]])
def test_no_line_that_fits_is_named(speeches):
    with pytest.raises(ValueError, match="no line fits a window of 16"):
        as_examples(speeches, ["a"], TOKENIZER, 16)


@pytest.mark.parametrize("n_texts", [1, 2])
def test_equal_texts_have_no_spread_to_scale_by(model, n_texts):
    texts, labels = Windows(["ab" * 10] * n_texts, TOKENIZER, 16), torch.arange(n_texts)
    with pytest.raises(ValueError, match="give more, different texts"):
        fit_head(DecoderClassifier(model, 2), texts, labels, TrainConfig(steps=2))


def test_lines_become_examples_of_whoever_says_them_or_is_asked():
    speeches = [Speech("a", "bbb\ncc", 0), Speech("bb", "c" * 99 + "\nd\n", 0)]
    inputs, targets, owners = as_examples(speeches, ["a", "bb"], TOKENIZER, 16)
    assert inputs.shape == targets.shape == (3, 16) and owners.tolist() == [0, 0, 1]
    assert [TOKENIZER.decode(row[:8]) for row in inputs[1:]] == ["as a: cc", "as bb: d"]
    asked, same, owners_too = as_examples(speeches, ["a", "bb"], TOKENIZER, 16, asked="bb")
    assert TOKENIZER.decode(asked[1][:9]) == "as bb: cc" and torch.equal(owners, owners_too)
    assert (same != IGNORED).sum() == (targets != IGNORED).sum() == 3 + 2 + 1 + 3 * len(END)


def test_answers_come_in_the_order_of_the_speakers(model):
    answers = sample_answers(model, TOKENIZER, ["a", "bb"], n_each=3, seed=0)
    assert len(answers) == 6 and {len(answer) for answer in answers} == {16 - len("as bb: ") + 1}
    assert answers == sample_answers(model, TOKENIZER, ["a", "bb"], n_each=3, seed=0)
    nothing = deepcopy(model)
    torch.nn.init.zeros_(nothing.output.weight)
    assert sample_answers(nothing, TOKENIZER, ["a", "bb"], n_each=3, seed=0) != answers


def test_losses_of_answers_are_those_of_their_characters(model):
    pairs = [as_example(TOKENIZER, prompt_for("a"), "b" * n, 16) for n in (1, 3, 5)]
    inputs, targets = map(torch.stack, zip(*pairs, strict=True))
    losses = answer_losses(model, inputs, targets)
    for i in range(3):
        one = F.cross_entropy(model(inputs[i : i + 1])[0][0], targets[i])
        torch.testing.assert_close(losses[i], one)


def test_losses_of_texts_are_those_of_evaluate(model):
    texts = ["abcdefgh" * 5, "abc", "ab" * 8, "hgfedcba" * 9]
    losses = text_losses(model, texts, TOKENIZER)
    for text, loss in zip(texts, losses, strict=True):
        tokens = TOKENIZER.encode("\n" + text)
        assert loss.item() == pytest.approx(evaluate(model, tokens) * len(text), rel=1e-5)


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("To be.\n\nMore", True),
        ("To be.\n", False),
        ("To be.", False),
        ("To\nbe.\n\n", False),
        ("\n\nTo", False),
        ("", False),
    ],
)
def test_an_answer_is_one_line_and_ends(answer, is_right):
    assert is_well_formed(answer) == is_right
