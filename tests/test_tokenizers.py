import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm_course.tokenizers import CharTokenizer


@given(st.text(min_size=1))
def test_decoding_undoes_encoding(text):
    tokenizer = CharTokenizer(text)
    tokens = tokenizer.encode(text)
    assert tokens.shape == (len(text),) and tokens.dtype == torch.long
    assert tokenizer.decode(tokens) == tokenizer.decode(tokens.tolist()) == text


def test_tokens_number_the_sorted_characters():
    tokenizer = CharTokenizer("banana\n")
    assert tokenizer.characters == ["\n", "a", "b", "n"]
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("nab\n").tolist() == [3, 1, 2, 0]


def test_the_characters_alone_make_the_same_tokenizer():
    tokenizer = CharTokenizer("to be or not to be")
    again = CharTokenizer("".join(tokenizer.characters))
    assert again.characters == tokenizer.characters


def test_an_unknown_character_is_named_with_its_position():
    with pytest.raises(ValueError, match=r"'é' \(U\+00E9\) at position 3 .* of 3 characters"):
        CharTokenizer("abc").encode("abcé")


@pytest.mark.parametrize("token", [-1, 3])
def test_a_token_out_of_range_is_named_with_its_position(token):
    with pytest.raises(ValueError, match=f"token {token} at position 1 .* from 0 to 2"):
        CharTokenizer("abc").decode([0, token])


def test_an_empty_text_has_no_vocabulary():
    with pytest.raises(ValueError, match="empty"):
        CharTokenizer("")
    assert CharTokenizer("a").encode("").shape == (0,)


def test_both_corpora_have_the_same_characters(tiny_shakespeare, practice_data):
    assert CharTokenizer(tiny_shakespeare).characters == practice_data[1].characters
