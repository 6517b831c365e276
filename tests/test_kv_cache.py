import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_course import kv_cache
from llm_course.generation import CachedReader, generate, next_logits, stream
from llm_course.kv_cache import KVCache, can_cache
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.multi_head_attention import MultiHeadAttention
from llm_course.models.single_block_transformer import (
    BlockConfig,
    FeedForward,
    SingleBlockTransformer,
)


def decoder(context_length=8, dtype=torch.float64):
    torch.manual_seed(0)
    config = DecoderConfig(11, context_length, 12, n_head=3, n_layer=2)
    model = DecoderTransformer(config).to(dtype).eval()
    for parameter in model.parameters():  # far from the beginning, where all guesses are alike
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def tokens(generator, *shape):
    return torch.randint(11, shape, generator=generator)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(0, 2**16),
)
def test_cached_logits_are_those_of_reading_anew(lengths, context_length, seed):
    generator = torch.Generator().manual_seed(seed)
    model = decoder(context_length)
    texts = [tokens(generator, length) for length in lengths]
    reader = CachedReader(model)
    with torch.no_grad():
        for _ in range(3 * context_length):  # past the window's end, in each row at its own time
            cached, anew = reader.next_logits(texts), next_logits(model, texts)
            torch.testing.assert_close(cached, anew, rtol=0, atol=1e-10)
            texts = [torch.cat([text, tokens(generator, 1)]) for text in texts]


def test_each_row_is_read_as_if_it_were_alone(generator):
    model = decoder()
    texts = [tokens(generator, length) for length in (2, 7, 13)]
    with torch.no_grad():
        together = next_logits(model, texts)
        alone = torch.cat([next_logits(model, [text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_seed_writes_the_same_text(dtype, generator):
    model = decoder(dtype=dtype)
    prompts = [tokens(generator, length) for length in (1, 5, 20)]

    def written(cached):
        seed = torch.Generator().manual_seed(3)
        return torch.stack(list(stream(model, prompts, 40, generator=seed, cached=cached)))

    assert torch.equal(written(True), written(False))
    assert torch.equal(written(True), written(None))


def test_a_block_transformer_of_one_layer_is_cached_too(generator):
    torch.manual_seed(0)
    model = SingleBlockTransformer(BlockConfig(11, 6, 12, n_head=3)).double().eval()
    texts = [tokens(generator, 4)]
    with torch.no_grad():
        expected = next_logits(model, texts)
        torch.testing.assert_close(
            CachedReader(model).next_logits(texts), expected, rtol=0, atol=1e-10
        )


def test_reading_in_pieces_is_reading_at_once(generator):
    model, text = decoder(), tokens(generator, 1, 8)
    cache = KVCache(model, 1)
    with torch.no_grad():
        pieces = [cache.read(piece, [piece.shape[1]]) for piece in text.split(3, 1)]
        torch.testing.assert_close(torch.cat(pieces, 1), model(text)[0], rtol=0, atol=1e-10)


def test_only_new_tokens_pass_through_the_model(generator, monkeypatch):
    model, read = decoder(), []
    whole = KVCache.read
    monkeypatch.setattr(
        KVCache, "read", lambda self, *a: read.append(a[0].shape[1]) or whole(self, *a)
    )
    generate(model, tokens(generator, 2, 5), 8, generator=generator, cached=True)
    assert read == [
        5,
        1,
        1,
        1,
        5,
        1,
        1,
        1,
    ]  # 8 places: full after 5 + 3; then the half and the next


def test_a_full_window_and_a_model_without_blocks_are_named(generator):
    model = decoder()
    cache = KVCache(model, 1)
    cache.read(tokens(generator, 1, 8), [8])
    with pytest.raises(ValueError, match="window of 8 places is full"):
        cache.read(tokens(generator, 1, 1), [1])
    bigram = BigramLM(BigramConfig(11))
    assert can_cache(model) and not can_cache(bigram)
    with pytest.raises(ValueError, match="BigramLM is not made of plain transformer blocks"):
        generate(bigram, tokens(generator, 1, 2), 1, generator=generator, cached=True)


def test_attention_that_the_cache_does_not_know_is_not_cached(generator):
    class Louder(MultiHeadAttention):
        def heads(self, x):
            q, k, v = super().heads(x)
            return [9 * q, k, v]

    class OtherFeedForward(FeedForward):
        pass

    model = decoder()
    model.blocks[0].feed_forward = OtherFeedForward(12).double()
    assert not can_cache(model)
    model = decoder()
    model.blocks[1].attention = Louder(12, 3).double()
    assert not can_cache(model)
    with pytest.raises(ValueError, match="DecoderTransformer is not made of plain"):
        KVCache(model, 1)


@pytest.mark.parametrize("second", [(4, 2, 9), (1, 2, 3, 4, 5), (1, 2, 3), (9, 2, 3, 4)])
def test_other_texts_are_read_anew(second):
    model = decoder()
    reader = CachedReader(model)
    texts = [torch.tensor([1, 2, 3])], [torch.tensor(second)]
    with torch.no_grad():
        for text in texts:
            torch.testing.assert_close(reader.next_logits(text), next_logits(model, text))
        two = [torch.tensor([5]), torch.tensor([6, 7])]
        torch.testing.assert_close(reader.next_logits(two), next_logits(model, two))


def test_tables_that_do_not_fit_the_cache_are_named(generator):
    cache = KVCache(decoder(), 2)
    for rows, counts in ((1, [2]), (2, [0, 2]), (2, [3, 1])):
        with pytest.raises(ValueError, match="a cache of 2 texts"):
            cache.read(tokens(generator, rows, 2), counts)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([(1, 1), (2, 1), (1, 3), (4, 1), (1, 5)]),
    st.sampled_from([512, 513]),
    st.booleans(),
)
def test_products_of_few_places_are_shared_out_and_equal(places, n_out, bias):
    torch.manual_seed(0)
    layer = torch.nn.Linear(512, n_out, bias=bias).double()
    x = torch.randn(*places, 512, dtype=torch.float64)
    assert layer.weight.numel() >= kv_cache.LARGE
    torch.testing.assert_close(kv_cache._product(layer, x), layer(x), rtol=0, atol=1e-12)


def test_empty_texts_are_named(generator):
    model = decoder()
    for texts in ([], [torch.tensor([], dtype=torch.long)]):
        for read in (lambda texts: next_logits(model, texts), CachedReader(model).next_logits):
            with pytest.raises(ValueError, match="empty prompt"):
                read(texts)
