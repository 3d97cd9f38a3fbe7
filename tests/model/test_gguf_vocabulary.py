"""Tokenizers in GGUF files: written by llama.cpp's keys, read back as they were, or refused."""

import gguf
import pytest
from gguf import TokenType
from tiny_checkpoints import refusal
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from tokenizers import pre_tokenizers as splits
from transformers import LlamaTokenizer, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from dynexit.model.gguf import tokens
from dynexit.model.gguf.tokens import SPLITTINGS
from dynexit.model.gguf.vocabulary import add_ends, add_tokenizer
from dynexit.model.tokenizer import CheckpointTokenizer

TEXTS = ["the theme 12345 's'S", "  two  spaces\n\n\ttab", "wörld 🦙", "hethe the<|end|>he", "9x 9"]
ALPHABET = sorted(splits.ByteLevel.alphabet())
MERGES = [("t", "h"), ("th", "e"), ("h", "e"), ("Ġ", "the"), ("1", "2"), ("Ġ", "Ġ")]


def byte_level(splitting="smollm", **changes):
    """A small tokenizer; `changes` replace parts of it."""
    vocabulary = {t: i for i, t in enumerate([*ALPHABET, *(a + b for a, b in MERGES)])}
    splitter, whole = SPLITTINGS[splitting]
    model = models.BPE(vocab=vocabulary, merges=changes.pop("merges", MERGES), ignore_merges=whole)
    tokenizer = Tokenizer(changes.pop("model", model))
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    tokenizer.add_tokens([changes.pop("added", "<think>")])
    if "around" in changes:
        ids = [(token, tokenizer.token_to_id(token)) for token in ("<|begin|>", "<|end|>", "the")]
        template = changes.pop("around")
        tokenizer.post_processor = processors.TemplateProcessing(template, special_tokens=ids)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    ends = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "unk_token": "<|end|>"}  # as GPT-2
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends)


def sentencepiece():
    """A small one like Llama 2's."""
    scored = ["▁", "t", "h", "e", "x", "th", "he", "the", "▁the", "▁▁", "▁▁▁", "▁▁▁▁"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *scored]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    scores = {token: -float(index) for index, token in enumerate(scored)}
    scores |= dict.fromkeys(scored[-3:], -99.0)  # runs of spaces are alike there
    return LlamaTokenizer(vocab=vocabulary, merges=generate_merges(vocabulary, scores))


def written(tmp_path, loaded, padding=0, without=()):
    """The tokenizer in a file that holds nothing else, and the file's metadata."""
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    add_tokenizer(writer, loaded, len(loaded) + padding)
    add_ends(writer, {loaded.eos_token_id}, loaded.eos_token_id)
    for key in without:
        del writer.kv_data[0][key]
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    metadata = {k.removeprefix("tokenizer."): f.contents() for k, f in fields.items()}
    return CheckpointTokenizer(tmp_path / "m.gguf"), metadata


def check_alike(found, loaded):
    for text in TEXTS:
        assert found.encode(text) == loaded(text)["input_ids"]
        ids = loaded.backend_tokenizer.encode(text, add_special_tokens=False).ids
        assert found.decode(ids) == loaded.decode(ids, skip_special_tokens=True)
    for name in ("bos_token_id", "eos_token_id", "unk_token_id"):
        assert getattr(found.loaded, name) == getattr(loaded, name)


@pytest.mark.gguf_tokenizer
@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_byte_level(tmp_path, splitting):
    loaded = byte_level(splitting, around="<|begin|> $0")
    loaded.chat_template = "{{ messages }}"
    found, metadata = written(tmp_path, loaded)
    check_alike(found, loaded)
    assert found.encode("x")[0] == loaded.bos_token_id
    assert found.loaded.chat_template == loaded.chat_template
    assert (metadata["ggml.model"], metadata["ggml.pre"]) == ("gpt2", splitting)
    assert metadata["ggml.token_type"][-3:] == [3, 3, 4]
    assert metadata["ggml.merges"] == [" ".join(pair) for pair in MERGES]


@pytest.mark.gguf_tokenizer
def test_where_a_file_does_not_say_bos_is_where_llama_cpp_has_it(tmp_path):
    for splitting, begins in (("llama-bpe", True), ("smollm", False)):
        loaded = byte_level(splitting, around="<|begin|> $0 <|end|>")
        unsaid = [f"tokenizer.ggml.add_{name}_token" for name in ("bos", "eos")]
        found, _ = written(tmp_path, loaded, without=unsaid)
        bare = loaded.backend_tokenizer.encode("the", add_special_tokens=False).ids
        assert found.encode("the") == [loaded.bos_token_id] * begins + bare
    found, metadata = written(tmp_path, loaded)
    assert metadata["ggml.add_eos_token"] is True
    assert found.encode("the") == loaded("the")["input_ids"]


def test_splittings_differ():
    texts = "a1234 it'S\n\n x"
    pieces = {n: str(s.pre_tokenize_str(texts)) for n, (s, _) in SPLITTINGS.items()}
    assert len(set(pieces.values())) == len(pieces)


@pytest.mark.gguf_tokenizer
def test_sentencepiece(tmp_path):
    loaded = sentencepiece()
    found, metadata = written(tmp_path, loaded)
    check_alike(found, loaded)
    assert metadata["ggml.model"] == "llama"
    types, scores = metadata["ggml.token_type"], metadata["ggml.scores"]
    assert types[:4] == [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, TokenType.BYTE]
    assert sorted(range(264, 268), key=lambda i: -scores[i]) == [264, 265, 266, 267]
    assert scores[267] > scores[270] == scores[269] > scores[268]  # whose merges come last


@pytest.mark.gguf_tokenizer
def test_padding_is_no_token(tmp_path):
    loaded = byte_level()
    found, metadata = written(tmp_path, loaded, padding=5)
    assert len(metadata["ggml.tokens"]) == len(loaded) + 5
    assert set(metadata["ggml.token_type"][-5:]) == {TokenType.UNUSED}
    assert found.size == len(loaded)


def words():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def changed(change):
    def make():
        loaded = sentencepiece()
        change(loaded.backend_tokenizer)
        return loaded

    return make


def other_merges(backend):
    vocabulary = backend.get_vocab()
    backend.model = models.BPE(vocab=vocabulary, merges=[("t", "h")], byte_fallback=True)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (words, "it is a WordLevel model, not BPE"),
        (lambda: byte_level(merges=[]), "it has no merges"),
        (
            lambda: byte_level(pre_tokenizer=splits.Split(Regex("x"), "isolated")),
            "splits text differently",
        ),
        (lambda: byte_level(pre_tokenizer=None), "splits text differently"),
        (lambda: byte_level(normalizer=normalizers.Lowercase()), "normalises text by Lowercase"),
        (lambda: byte_level(added=AddedToken("<x>", rstrip=True)), "strips the spaces beside it"),
        (lambda: byte_level(around="<|begin|> the $0"), "tokens other than BOS and EOS"),
        (changed(lambda b: setattr(b, "pre_tokenizer", splits.Metaspace())), "treats spaces"),
        (changed(other_merges), "merges are not those of a SentencePiece model"),
    ],
)
def test_what_cannot_be_said_is_refused(tmp_path, make, why):
    sentence = refusal(lambda: written(tmp_path, make()))
    assert sentence.startswith("a GGUF file cannot hold this tokenizer: ")
    assert why in sentence


def test_more_tokens_than_the_model_has(tmp_path):
    assert "it has 265 tokens but the model has 264" in refusal(
        lambda: written(tmp_path, byte_level(), padding=-1)
    )


@pytest.mark.gguf_tokenizer
def test_a_transformers_that_reads_them_wrongly_is_refused(tmp_path, monkeypatch):
    written(tmp_path, sentencepiece())
    monkeypatch.setattr(tokens, "OLDEST", "99")
    sentence = refusal(lambda: CheckpointTokenizer(tmp_path / "m.gguf"))
    assert "reads GGUF tokenizers wrongly" in sentence
    assert "transformers>=99" in sentence
