"""What the course writes, as `transformers` reads it; and GPT-2's tokenizer, as it cuts texts."""

import json
import random
import sys
import unicodedata

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from llm_course import model_folder
from llm_course.__main__ import main
from llm_course.byte_pairs import PIECE
from llm_course.checkpoint import load_pretrained, save_checkpoint
from llm_course.hugging_face import export, load_tokenizer
from llm_course.lora import add_lora, merge_lora
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.gpt2 import GPT2, GPT2Config
from llm_course.models.multi_head_attention import MultiHeadAttention
from llm_course.practice_corpus import practice_text
from llm_course.tensor_file import CheckpointError
from llm_course.tokenizers import BPETokenizer, CharTokenizer

fuzzed = settings(max_examples=300, deadline=None, derandomize=True, database=None)
END = "<|endoftext|>"
SCRIPTS = (
    "plain words, they'll don't I'M we've 's 'S n't ' '' \u2019s\u2019ll",
    "  two\t\ttabs \n\n lines\r\n \u00a0\u2003\u3000\u200b\u200d\ufeff\x00\x07\x1f\x7f\x85\u2028",
    "naïve café Straße Ελληνικά русский עברית العربية हिन्दी ไทย ქართული አማርኛ 漢字 かな カナ 한국어",
    "e\u0301 n\u0303 ½ ² Ⅷ ٣ १२ 12345 3.14 1,000 €5 £ $x^2 #tag @me a_b-c/d\\e",
    "🙂 👩‍👩‍👧‍👦 🇩🇪 ☕️ 𝒳 𓀀 \U0010ffff",
    END,
)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def tokenizer():
    text = practice_text()[:40_000] + " ".join(SCRIPTS[:-1]) * 20
    return BPETokenizer(BPETokenizer.train(text, 700).merges, special=[END])


@pytest.fixture(scope="module")
def files(tokenizer, tmp_path_factory):
    """A folder with GPT-2's two files."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_files(folder / "vocab.json", folder / "merges.txt")
    return folder


@pytest.fixture(scope="module")
def theirs(files):
    return transformers.GPT2Tokenizer.from_pretrained(files)


def test_the_two_files_are_laid_out_as_gpt2s(tokenizer, files):
    vocab = json.loads((files / "vocab.json").read_text(encoding="utf-8"))
    assert list(vocab.values()) == list(range(701))
    assert [vocab[sign] for sign in ("!", "a", "~", "Ġ", "Ċ", END)] == [0, 64, 93, 220, 198, 700]
    lines = (files / "merges.txt").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "#version: 0.2" and lines[-1] == "" and len(lines) == 700 - 256 + 2
    again = load_tokenizer(files)
    assert (again.merges, again.tokens, again.special) == (
        tokenizer.merges,
        tokenizer.tokens,
        {END: 700},
    )


def assert_same_tokens(tokenizer, theirs, text):
    tokens = tokenizer.encode(text)
    assert tokens.tolist() == theirs.encode(text), repr(text)
    assert tokenizer.decode(tokens) == theirs.decode(tokens.tolist()) == text


def test_texts_of_many_scripts_have_their_tokens(tokenizer, theirs):
    for text in (*SCRIPTS, "".join(SCRIPTS), practice_text()[100_000:130_000]):
        assert_same_tokens(tokenizer, theirs, text)


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_texts_of_many_scripts_have_their_tokens(tokenizer, theirs, seed):
    luck = random.Random(seed)
    alphabet = [*"".join(SCRIPTS), " ", " ", "\n", "'", "'s", "'re", END]
    for _ in range(30):
        text = "".join(luck.choices(alphabet, k=luck.randint(0, 80)))
        assert_same_tokens(tokenizer, theirs, text)


@fuzzed
@given(parts=st.lists(st.sampled_from([*"aetho n'sdt19 \t\n.,!é漢🙂<|>", END, "'ll"])))
def test_lively_texts_have_their_tokens(tokenizer, theirs, parts):
    assert_same_tokens(tokenizer, theirs, "".join(parts))


@pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0",
    reason="of characters after Unicode 14, libraries of different age do not agree what they are",
)
@fuzzed
@given(text=st.text(st.characters(exclude_categories=("Cs", "Cn"))))
def test_so_do_texts_of_all_characters(tokenizer, theirs, text):
    assert_same_tokens(tokenizer, theirs, text)


@pytest.mark.slow
def test_of_all_characters_only_those_newer_than_unicode_14_may_be_cut_in_another_way():
    by_theirs = pre_tokenizers.ByteLevel(add_prefix_space=False)
    others = []
    for first in range(0, sys.maxunicode + 1, 256):
        block = [chr(n) for n in range(first, first + 256) if not 0xD800 <= n < 0xE000]
        # Beside a letter, a digit and itself, a character shows whether it is taken for one of them.
        texts = [f"a{c}1{c}." for c in block]
        for text in texts if cut(by_theirs, "\n".join(texts)) else ():
            if cut(by_theirs, text):
                others.append(text[1])
    assert all(unicodedata.ucd_3_2_0.category(c) == "Cn" for c in others)
    if unicodedata.unidata_version == "14.0.0":
        assert all(unicodedata.category(c) == "Cn" for c in others)


def cut(by_theirs, text):
    """Return whether our pattern and theirs cut a text at different places."""
    theirs = by_theirs.pre_tokenize_str(text)
    ends, position = [], 0
    for piece in PIECE.findall(text):
        position += len(piece)
        ends.append(position)
    return ends != [end for _, (_, end) in theirs]


def test_the_end_of_a_text_is_one_token_as_theirs_and_can_be_told_apart(tokenizer, theirs):
    text = f"one{END}two {END} {END}{END}<|endoftext|"
    tokens = tokenizer.encode(text).tolist()
    assert tokens == theirs.encode(text) and tokens.count(700) == 4
    assert tokenizer.decode([700]) == END
    plain = BPETokenizer(tokenizer.merges)
    assert plain.vocab_size == 700 and plain.decode(plain.encode(text)) == text
    longest = BPETokenizer([], special=["<a>", "<a><b>"])
    assert longest.encode("<a><b><a>").tolist() == [257, 256]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v, m: v.update(a=3), "not what its merges make"),
        (lambda v, m: v.pop("a"), "not what its merges make"),
        (lambda v, m: v.update({END: 900}), "not what its merges make"),
        (lambda v, m: v.update({END: "700"}), "not supported"),
        (lambda v, m: v.update({"": 701}), "cannot be a special token"),
        (lambda v, m: m.reverse(), "which no merge before it makes"),
        (lambda v, m: m.append("a b c"), "too many values"),
        (lambda v, m: m.append("€ a"), "€"),
    ],
)
def test_other_tokenizers_are_refused(tokenizer, tmp_path, change, said):
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    tokenizer.save_files(*files)
    vocab = json.loads(files[0].read_text(encoding="utf-8"))
    merges = files[1].read_text(encoding="utf-8").split("\n")[:-1]
    change(vocab, merges)
    files[0].write_text(json.dumps(vocab), encoding="utf-8")
    files[1].write_text("\n".join(merges), encoding="utf-8")
    with pytest.raises(ValueError, match=f"is not a tokenizer that this course reads: .*{said}"):
        load_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no tokenizer: neither vocab.json and merges.txt"):
        load_tokenizer(tmp_path)


def test_special_tokens_stay_in_the_one_file_too(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path)
    assert (again.tokens, again.special) == (tokenizer.tokens, tokenizer.special)
    whole = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    for change in ({"normalizer": {"type": "NFC"}}, {"added_tokens": []}):
        (tmp_path / "tokenizer.json").write_text(json.dumps(whole | change))
        with pytest.raises(ValueError, match="is not a tokenizer that this course reads"):
            load_tokenizer(tmp_path)


def far(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def read_by_them(folder):
    model, info = transformers.GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["decoder", "gpt2"])
@pytest.mark.parametrize("seed", range(3))
def test_an_export_has_the_same_logits_there(kind, seed, tokenizer, tmp_path, generator):
    torch.manual_seed(seed)
    sizes = {"context_length": 16, "n_embd": 24, "n_head": 3 + seed % 2, "n_layer": 2}
    if kind == "decoder":
        characters = CharTokenizer(practice_text())
        ours = far(DecoderTransformer(DecoderConfig(characters.vocab_size, **sizes)))
    else:
        characters, ours = tokenizer, far(GPT2(GPT2Config(tokenizer.vocab_size, **sizes)))
    export(ours, characters, tmp_path / "out")
    theirs, their_tokenizer = read_by_them(tmp_path / "out")
    assert theirs.config.tie_word_embeddings == (kind == "gpt2")
    assert (theirs.lm_head.weight is theirs.transformer.wte.weight) == (kind == "gpt2")
    tokens = torch.randint(ours.config.vocab_size, (3, 16), generator=generator)
    torch.testing.assert_close(theirs(tokens).logits, ours(tokens)[0], rtol=0, atol=1e-5)
    wanted = ours.double()(tokens)[0]
    torch.testing.assert_close(theirs.double()(tokens).logits, wanted, rtol=0, atol=1e-11)

    text = practice_text()[:3000]
    ids = their_tokenizer(text, truncation=False, verbose=False)["input_ids"]
    assert ids == characters.encode(text).tolist() and their_tokenizer.decode(ids) == text
    assert len(their_tokenizer) == characters.vocab_size


def test_gpt2_comes_back_through_a_folder_unchanged(tokenizer, tmp_path):
    ours = far(GPT2(GPT2Config(tokenizer.vocab_size, 8, 12, n_head=3, n_layer=1, dropout=0.3)))
    export(ours, tokenizer, tmp_path / "out")
    again = GPT2.from_pretrained(tmp_path / "out")
    assert again.config == ours.config
    assert all(torch.equal(again.state_dict()[k], v) for k, v in ours.state_dict().items())
    assert load_tokenizer(tmp_path / "out").tokens == tokenizer.tokens
    decoder = load_pretrained()
    export(decoder.model, decoder.tokenizer, tmp_path / "plain")
    with pytest.raises(CheckpointError, match="activation_function is 'relu'"):
        GPT2.from_pretrained(tmp_path / "plain")


def test_the_decoder_that_ships_has_the_same_tokens_and_logits_there(tiny_shakespeare, tmp_path):
    ours = load_pretrained()
    export(ours.model, ours.tokenizer, tmp_path / "out")
    theirs, their_tokenizer = read_by_them(tmp_path / "out")
    ids = their_tokenizer(tiny_shakespeare, verbose=False)["input_ids"]
    assert ids == ours.tokenizer.encode(tiny_shakespeare).tolist()
    assert their_tokenizer.decode(ids) == tiny_shakespeare
    with pytest.raises(Exception, match="UNK"):
        their_tokenizer("é")
    tokens = torch.tensor(ids[:640]).view(10, 64)
    wanted = ours.model.eval()(tokens)[0]
    torch.testing.assert_close(theirs(tokens).logits, wanted, rtol=0, atol=1e-4)


def small():
    torch.manual_seed(0)
    characters = CharTokenizer("abc\n")
    return DecoderTransformer(DecoderConfig(4, 8, 12, n_head=3, n_layer=1)), characters


def test_other_models_and_tokenizers_are_refused(tmp_path):
    model, characters = small()
    with pytest.raises(ValueError, match="BigramLM cannot be written in GPT-2's layout"):
        export(BigramLM(BigramConfig(4)), characters, tmp_path / "out")
    with pytest.raises(ValueError, match="a tokenizer of 2 tokens is not that of a model of 4"):
        export(model, CharTokenizer("ab"), tmp_path / "out")
    add_lora(model, 1, 1.0)
    with pytest.raises(ValueError, match="merge it first"):
        export(model, characters, tmp_path / "out")
    merge_lora(model)

    class Louder(MultiHeadAttention):
        pass

    model.blocks[0].attention = Louder(12, 3)
    with pytest.raises(ValueError, match="DecoderTransformer cannot be written"):
        export(model, characters, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_export_takes_the_place_of_an_export_and_of_nothing_else(tmp_path):
    model, characters = small()
    folder = tmp_path / "out"
    folder.mkdir()  # an empty folder is nobody's
    for n in range(2):
        torch.nn.init.constant_(model.norm.bias, n)
        export(model, characters, folder)
        theirs, _ = read_by_them(folder)
        assert (theirs.transformer.ln_f.bias == n).all()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

    (folder / "notes.txt").write_text("mine")
    export(model, characters, tmp_path / "clean")
    (tmp_path / "link").symlink_to(tmp_path / "clean")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text('{"model_type": "gpt2"}')
    for name in ("out", "link", "file", "gpt2"):
        with pytest.raises(CheckpointError, match=f"{name} is there already, and is no export"):
            export(model, characters, tmp_path / name)
    assert (folder / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 5


def test_an_export_is_whole_or_not_there(tmp_path, monkeypatch):
    model, characters = small()
    export(model, characters, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder.os, "fsync", full)
    for folder in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(CheckpointError, match="could not be written: No space left"):
            export(model, characters, folder)
    monkeypatch.undo()
    rename = model_folder.Path.rename

    def busy(path, target):
        if path.suffix == ".part":
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(model_folder.Path, "rename", busy)
    with pytest.raises(CheckpointError, match="could not be written: Device or resource busy"):
        export(model, characters, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_the_command_line_exports(away, capsys):
    model, characters = small()
    about = {"corpus": "letters", "loss": "1.0", "steps": "0"}
    save_checkpoint("a.safetensors", "decoder", model, characters, about)
    assert main(["export", "folder", "--model", "a.safetensors"]) == 0
    said = capsys.readouterr().out
    assert "folder is ready: a DecoderTransformer, trained on letters" in said
    assert 'GPT2LMHeadModel.from_pretrained("folder")' in said
    read_by_them("folder")
    (away / "folder" / "mine.txt").touch()
    assert main(["export", "folder", "--model", "a.safetensors"]) == 2
    assert "error: folder is there already" in capsys.readouterr().err
    bigram = BigramLM(BigramConfig(4))
    save_checkpoint("b.safetensors", "bigram", bigram, characters, about)
    assert main(["export", "other", "--model", "b.safetensors"]) == 2
    assert "error: BigramLM cannot be written" in capsys.readouterr().err
