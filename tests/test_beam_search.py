import itertools
import math

import pytest
import torch
from torch import nn

from llm_course.beam_search import beam_search, beam_step, greedy, log_probs_of
from llm_course.models.encoder_decoder import EncoderDecoderConfig, EncoderDecoderTransformer

V, START, END, PADDING = 6, 1, 2, 3
LONGEST = 4  # tokens of a text: those that the decoder may read


def toy(seed, context_length=LONGEST, ending=2.0):
    """A model with two letters and random opinions; it likes to come to an end."""
    torch.manual_seed(seed)
    config = EncoderDecoderConfig(V, context_length=context_length, n_embd=8, n_head=2, n_layer=1)
    made = EncoderDecoderTransformer(config).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.7)
    made.output.bias.data[END] += ending
    return made


def sources(seed=0, n=5, length=4):
    return torch.randint(4, V, (n, length), generator=torch.Generator().manual_seed(seed))


def every_text():
    """All that can be written in the window: to the end token, or until the window is full."""
    tokens = [token for token in range(V) if token not in (PADDING, END)]
    for length in range(LONGEST):
        for text in itertools.product(tokens, repeat=length):
            yield [START, *text, END] + [PADDING] * (LONGEST - length - 1)
    for text in itertools.product(tokens, repeat=LONGEST):
        yield [START, *text]


@pytest.mark.parametrize("seed", range(10))
def test_one_beam_is_greedy(seed):
    made, source = toy(seed, context_length=12, ending=0.5), sources(seed)
    written, scores = beam_search(made, source, 1)
    by_greedy = greedy(made, source)
    assert torch.equal(written[:, 0], by_greedy) and (by_greedy[:, 0] == START).all()
    torch.testing.assert_close(scores[:, 0], log_probs_of(made, source, by_greedy))


@pytest.mark.parametrize("n_beams", [2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_scores_are_the_models_log_probabilities_best_first(seed, n_beams):
    made, source = toy(seed, context_length=10, ending=0.5), sources(seed)
    written, scores = beam_search(made, source, n_beams)
    assert (scores.diff(dim=1) <= 0).all()
    for k in range(n_beams):
        by_model = log_probs_of(made, source, written[:, k])
        torch.testing.assert_close(scores[:, k], by_model, rtol=0, atol=1e-10)
    for rows in written.tolist():
        assert len({tuple(row) for row in rows}) == n_beams, "a text stands twice"


def test_the_log_probability_is_a_sum_over_single_guesses():
    made, source = toy(0), sources(n=1)
    text = torch.tensor([[START, 4, 5, END, PADDING]])
    total = 0.0
    for t in range(1, 4):
        logits, _ = made(source, text[:, :t])
        total += logits[0, -1].log_softmax(-1)[text[0, t]]
    torch.testing.assert_close(log_probs_of(made, source, text)[0], total, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_enough_beams_find_what_trying_everything_finds(seed):
    made, source = toy(seed), sources(seed, n=2)
    texts = torch.tensor(list(every_text()))
    # All that can be open or done at once; no text that the search could need falls out.
    written, scores = beam_search(made, source, len(texts))
    for b in range(2):
        by_model = log_probs_of(made, source[b : b + 1].expand(len(texts), -1), texts)
        best = by_model.argmax()
        torch.testing.assert_close(scores[b, 0], by_model[best], rtol=0, atol=1e-10)
        assert written[b, 0].tolist() == texts[best].tolist()[: written.shape[2]]
        torch.testing.assert_close(by_model.exp().sum() < 1 + 1e-9, torch.tensor(True))
        few = beam_search(made, source, 3)[1][b, 0]
        alone = log_probs_of(made, source, greedy(made, source))[b]
        assert alone <= few + 1e-12 <= by_model[best] + 1e-11


def test_a_row_is_the_same_alone_and_in_a_batch():
    made, source = toy(3, context_length=10, ending=0.5), sources(3)
    written, scores = beam_search(made, source, 3)
    for b in range(len(source)):
        alone, alone_scores = beam_search(made, source[b : b + 1], 3)
        torch.testing.assert_close(alone_scores[0, 0], scores[b, 0])
        length = alone.shape[2]
        assert torch.equal(alone[0, 0], written[b, 0, :length])
        assert (written[b, 0, length:] == PADDING).all()


def test_nothing_but_padding_follows_the_end_and_none_comes_before():
    for seed in range(5):
        made, source = toy(seed, context_length=10, ending=0.5), sources(seed)
        for row in beam_search(made, source, 4)[0].flatten(0, 1).tolist():
            before, _, after = "".join(map(str, row)).partition(str(END))
            assert str(PADDING) not in before and set(after) <= {str(PADDING)}


def test_a_step_takes_the_best_over_all_beams_and_keeps_their_texts():
    written = torch.tensor([[[START, 4], [START, 5]]])
    scores = torch.tensor([[-1.0, -2.0]])
    log_probs = torch.tensor([[[-9.0, -9, -3, -9, -9, -9], [-9.0, -9, -9, -9, -0.5, -1.5]]])
    longer, scores = beam_step(written, scores, log_probs)
    assert longer.tolist() == [[[START, 5, 4], [START, 5, 5]]]
    assert scores.tolist() == [[-2.5, -3.5]]


def test_greedy_can_be_shortsighted():
    """The likeliest first token need not begin the likeliest text."""
    found = 0
    for seed in range(30):
        made, source = toy(seed, context_length=8, ending=0.0), sources(seed)
        alone = log_probs_of(made, source, greedy(made, source))
        found += int((beam_search(made, source, 4)[1][:, 0] > alone + 1e-6).sum())
    assert found > 5


def test_the_mode_of_the_model_is_given_back():
    made = toy(0).train()
    greedy(made, sources())
    assert made.training and not greedy(made, sources()).requires_grad
    with pytest.raises(ValueError, match="n_beams must be a whole number from 1 on, and is 0"):
        beam_search(made, sources(), 0)
    assert math.isfinite(beam_search(made, sources(), 2)[1][0, 0])
