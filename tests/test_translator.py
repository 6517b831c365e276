from dataclasses import replace

import pytest
import torch

from llm_course.alignment import cross_attention, share_right
from llm_course.beam_search import beam_search, greedy, log_probs_of
from llm_course.models.encoder_decoder import EncoderDecoderConfig, EncoderDecoderTransformer
from llm_course.practice_corpus import practice_text
from llm_course.translation import (
    TOKENIZER,
    draw_phrases,
    mirrorish,
    padded,
    teaching_batch,
    true_places,
    words_of,
)
from llm_course.translator import TRAINING, exact_match, text_of, train_translator, translate

SHORT = replace(TRAINING, steps=4, batch_size=8, eval_every=2, eval_windows=20)


def fresh(seed=0):
    torch.manual_seed(seed)
    return EncoderDecoderTransformer(EncoderDecoderConfig(TOKENIZER.vocab_size))


@pytest.fixture(scope="module")
def words():
    return words_of(practice_text())


def test_training_is_recorded_and_the_same_seed_gives_the_same(words):
    models = [fresh(), fresh()]
    first, second = (train_translator(model, words, SHORT) for model in models)
    assert first.steps == [0, 2, 4] and first.val_loss == second.val_loss
    assert first.val_loss[-1] < first.val_loss[0]
    assert 0 == first.tokens[0] < first.tokens[1] < first.tokens[2] and first.seconds[2] > 0
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))
    seen = []
    other = train_translator(
        fresh(), words, replace(SHORT, seed=1), lambda *state: seen.append(state)
    )
    assert other.val_loss != first.val_loss
    assert [step for step, _ in seen] == [0, 2, 4] and seen[0][1] is other


def test_every_step_has_phrases_of_its_own_and_none_is_held_out(words):
    seen = []
    for seed in (0, 1):
        model = fresh()
        model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        train_translator(model, words, replace(SHORT, seed=seed))
    batches = [" ".join(map(TOKENIZER.decode, source)) for source in seen if len(source) == 8]
    assert len(batches) == 8 and len(set(batches)) == 8
    read = {word for batch in batches for word in batch.replace("_", " ").split()}
    assert not read & set(words.val)


def test_what_the_loop_does_not_know_is_refused(words):
    for more in ({"muon_rate": 0.01}, {"micro_batches": 2}):
        with pytest.raises(ValueError, match="leave out muon_rate and micro_batches"):
            train_translator(fresh(), words, replace(SHORT, **more))


def test_exact_match_is_all_or_nothing():
    phrases = ["noble king", "good night", "old apple"]
    right = [mirrorish(phrase) for phrase in phrases]
    assert exact_match(right, phrases) == 1
    assert exact_match([right[0], right[1] + "n", right[2][:-1]], phrases) == pytest.approx(1 / 3)


def test_text_ends_at_the_end():
    written = TOKENIZER.encode("<gniik oold>___").tolist()
    assert text_of(written) == "gniik oold" == text_of(written[:-4])
    assert text_of(TOKENIZER.encode("<").tolist()) == ""


def test_maps_have_a_row_for_every_character_said(words, generator):
    phrases = draw_phrases(words.val, 5, generator)
    model = fresh()
    maps = cross_attention(model, phrases)
    for phrase, weights in zip(phrases, maps, strict=True):
        assert weights.shape == (2, 4, len(mirrorish(phrase)) + 1, len(phrase))
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        torch.testing.assert_close(weights, cross_attention(model, [phrase])[0])


def test_the_share_at_the_true_place_counts_characters():
    phrases = ["old king", "an ox"]
    true = [true_places(phrase) for phrase in phrases]
    assert true == [[7, 6, 5, 5, 4, 3, 0, 0, 1, 2], [3, 3, 4, 2, 0, 0, 1]]
    assert share_right(true, phrases) == 1
    true[0][3], true[1][2] = 6, 3  # one too large, one too small
    assert share_right(true, phrases) == pytest.approx(15 / 17)
    with pytest.raises(ValueError, match="longer than"):
        share_right([true[0][:-1], true[1]], phrases)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["shakespeare", "practice"])
def test_it_learns_to_translate_words_that_it_never_saw(corpus, request, generator):
    text = practice_text() if corpus == "practice" else request.getfixturevalue("tiny_shakespeare")
    words = words_of(text)
    model = fresh()
    train_translator(model, words)
    phrases = draw_phrases(words.val, 500, generator)
    source = padded(phrases)
    rows = greedy(model, source), beam_search(model, source, n_beams=4)[0][:, 0]
    plain, by_beams = ([text_of(row) for row in part.tolist()] for part in rows)
    assert plain == translate(model, phrases)
    least = 0.95 if corpus == "shakespeare" else 0.8  # of a quarter as many words
    assert exact_match(plain, phrases) >= least and exact_match(by_beams, phrases) >= least
    at_greedy, at_beams = (log_probs_of(model, source, part) for part in rows)
    assert (at_beams >= at_greedy - 1e-4).float().mean() > 0.98
    maps = cross_attention(model, phrases)
    shares = [
        share_right([rows[layer, head, :-1].argmax(-1).tolist() for rows in maps], phrases)
        for layer in range(2)
        for head in range(4)
    ]
    assert max(shares) > 0.6


def teaching_rows(texts):
    return padded([f"<{text}>" for text in texts])


def test_rows_for_the_model_are_those_of_the_batches():
    phrases = ["noble king", "good night"]
    _, target_in, targets = teaching_batch(phrases)
    rows = teaching_rows([mirrorish(phrase) for phrase in phrases])
    assert torch.equal(rows[:, :-1], target_in) and torch.equal(rows[:, 1:], targets)
