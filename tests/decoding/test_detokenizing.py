"""Any tokens at all, through every kind of decoder: what comes out adds up to one decoding."""

import random
from itertools import pairwise, takewhile

import pytest
from conftest import CORPUS
from tiny import LOSSLESS, scripted
from tokenizers import AddedToken, Tokenizer, decoders, models

from dynexit import LanguageModel
from dynexit.decoding.detokenizing import BYTE, LONGEST, Detokenizer, falls_back_to_bytes
from dynexit.decoding.text import TextStream
from dynexit.model.tokenizer import CheckpointTokenizer
from dynexit.training.vocabulary import byte_level_tokenizer, save_tokenizer

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = """▁ ▁▁ ▁a a b ▁b é 😀 \ufffd . , ! ' n't 's ##a ##b ##. ## a</w> </w> b</w> | <pad> <0xGG>
<0xe2> <0x0A ▁do ▁not a▁ ▁a▁b ' ' x' 'x ' '\n' 1 do not""".replace("' '", "").split()
SPECIAL = ["<s>", "</s>", "<|im_end|>"]
ADDED = [
    AddedToken("<left>", lstrip=True),
    AddedToken("<right>", rstrip=True),
    AddedToken("<both> two", lstrip=True, rstrip=True, normalized=False),
]
VOCABULARY = ["<unk>", *dict.fromkeys([*PIECES, " ", "  ", "\n", " a", "a ", "Ġa", "Ċ"]), *BYTES]
LLAMA_2 = [
    decoders.Replace("▁", " "),
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Strip(" ", 1, 0),
]
DECODERS = {
    "byte level": decoders.ByteLevel(),
    "llama 2": decoders.Sequence(LLAMA_2),
    "gemma": decoders.Sequence(LLAMA_2[:3]),
    "byte fallback alone": decoders.ByteFallback(),
    "byte fallback, metaspace": decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace("▁", "always")]
    ),
    "metaspace": decoders.Metaspace(),
    "metaspace, first": decoders.Metaspace("▁", "first"),
    "metaspace, never": decoders.Metaspace("▁", "never"),
    "word pieces": decoders.WordPiece(cleanup=False),
    "word pieces, cleaned up": decoders.WordPiece(cleanup=True),
    "word ends": decoders.BPEDecoder(),
    "stripped tokens": decoders.Strip(" ", 1, 0),
    "none": None,
}


def numbered():
    return {piece: at for at, piece in enumerate(VOCABULARY)}


def model_of(kind):
    """The kind of model that such a decoder comes with; decoding asks it for pieces only."""
    if "metaspace" in kind:
        return models.Unigram([(piece, -1.0) for piece in VOCABULARY], 0, True)
    if "word pieces" in kind:
        return models.WordPiece(numbered(), unk_token="<unk>")
    return models.BPE(numbered(), [], unk_token="<unk>", byte_fallback=True)


def tokenizer_of(kind):
    tokenizer = Tokenizer(model_of(kind))
    if DECODERS[kind] is not None:
        tokenizer.decoder = DECODERS[kind]
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(ADDED)
    return tokenizer


TOKENIZERS = {kind: tokenizer_of(kind) for kind in DECODERS}
TOKENIZERS["byte level, trained"] = byte_level_tokenizer(310, CORPUS)
SIZES = {kind: max(one.get_vocab().values()) + 1 for kind, one in TOKENIZERS.items()}


def id_of(kind, piece):
    return TOKENIZERS[kind].token_to_id(piece)


def told(kind, ids, prompt=()):
    """What a detokenizer tells, a piece a token and one at the end."""
    detokenizer = Detokenizer(TOKENIZERS[kind], prompt)
    return [*map(detokenizer.push, ids), detokenizer.settle()]


def random_ids(kind, chance, count):
    """Tokens of all kinds, bytes and parts of characters more often than chance has them."""
    size, byte = SIZES[kind], id_of(kind, "<0x00>")
    real = [*"€😀é\n".encode()]
    ids = []
    while len(ids) < count:
        draw = chance.random()
        if byte is not None and draw < 0.2:
            ids += [byte + chance.randrange(256)]
        elif byte is not None and draw < 0.4:
            ids += [byte + one for one in real[: chance.randrange(len(real) + 1)]]
        else:
            ids.append(chance.randrange(size + 2))  # two of them have no piece
    return ids[:count]


def check_random_tokens(kind, texts, seed):
    chance = random.Random(seed)
    for _ in range(texts):
        ids = random_ids(kind, chance, chance.randrange(60))
        assert "".join(told(kind, ids)) == TOKENIZERS[kind].decode(ids), ids


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_any_tokens_add_up_to_their_decoding(kind):
    check_random_tokens(kind, 300, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_millions_of_tokens_add_up_to_their_decoding(kind):
    check_random_tokens(kind, 10_000, seed=1)


def test_a_stray_byte_after_a_byte_token():
    ids = [id_of("llama 2", piece) for piece in ("<0x0A>", "<0xF0>", "▁a")]
    assert told("llama 2", ids) == ["", "", "\ufffd\ufffd a", ""]


@pytest.mark.parametrize("method", LOSSLESS)
def test_a_model_that_writes_stray_bytes_still_writes_text(method, tmp_path):
    save_tokenizer(TOKENIZERS["llama 2"], tmp_path, 512)
    tokenizer = CheckpointTokenizer(tmp_path)
    pieces = ["a", "<0x0A>", "<0xF0>", "▁a", "<0xC3>", "<0xA9>", "▁b", "b"]
    ids = [tokenizer.backend.token_to_id(piece) for piece in pieces]
    says = [0] * tokenizer.size
    for token, following in pairwise(ids):
        says[token] = following
    lm = LanguageModel(scripted(says, says), tokenizer, frozenset({0}))
    assert lm.generate(ids[:1], method, max_new_tokens=20).text == "\ufffd\ufffd aé bb"


def test_bytes_are_told_as_soon_as_they_are_sure():
    ids = [id_of("llama 2", piece) for piece in ("a", "<0xC3>", "<0xA9>", "<0x0A>", "▁b", "b")]
    assert told("llama 2", ids) == ["a", "", "", "", "é\n b", "b", ""]


def bytes_at_the_end(kind, ids):
    """How many byte tokens the decoder sees last, where it knows them."""
    if not falls_back_to_bytes(TOKENIZERS[kind]):
        return 0
    names = [TOKENIZERS[kind].id_to_token(token) for token in ids]
    seen = [name for name in names if name is not None and name not in SPECIAL]
    return len(list(takewhile(BYTE.fullmatch, reversed(seen))))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_text_comes_at_once(kind):
    """Nothing waits but bytes, which the next token settles, and a last replacement character."""
    chance = random.Random(2)
    for _ in range(50):
        ids = random_ids(kind, chance, 30)
        for end in range(1, 30):
            whole = TOKENIZERS[kind].decode(ids[:end])
            late = len(whole) - len("".join(told(kind, ids[:end])[:-1]))
            assert late <= max(whole.endswith("\ufffd"), bytes_at_the_end(kind, ids[:end]))


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("piece", ["a", "\ufffd", "▁", "Ċ", "##a"])
def test_few_tokens_are_kept_however_long_a_text_is(kind, piece):
    token = id_of(kind, piece)
    if token is None:
        pytest.skip("this tokenizer has no such piece")
    detokenizer, longest = Detokenizer(TOKENIZERS[kind], []), 0
    for _ in range(300):
        detokenizer.push(token)
        longest = max(longest, len(detokenizer._window))
    assert longest <= LONGEST + 1


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_prompt_gives_the_first_token_its_space_and_is_not_repeated(kind):
    tokenizer, chance = TOKENIZERS[kind], random.Random(3)
    for _ in range(100):
        ids, word = random_ids(kind, chance, 8), id_of(kind, "b") or tokenizer.encode("b").ids[0]
        prompt = [*random_ids(kind, chance, 12), word]
        before = tokenizer.decode(prompt)
        assert before + "".join(told(kind, ids, prompt)) == tokenizer.decode(prompt + ids)


@pytest.mark.parametrize("open_end", ["<0x0A>", "<0xF0>", "\ufffd"])
def test_a_prompt_that_leaves_something_open_still_gives_the_space(open_end):
    prompt = [id_of("llama 2", "a"), id_of("llama 2", open_end)]
    assert "".join(told("llama 2", [id_of("llama 2", "▁b")], prompt)) == " b"


def test_a_stop_string_of_bytes_stops_where_it_is_whole():
    kind = "llama 2"
    text = TextStream(TOKENIZERS[kind], [], ["é\n"])
    ids = [id_of(kind, piece) for piece in ("a", "<0xC3>", "<0xA9>", "<0x0A>")]
    assert [text.push(token) for token in ids] == ["a", "", "", ""]
    assert text.stopped
    assert text.flush() == ""


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_text_ends_with_the_first_token_that_completes_a_stop_string(kind):
    tokenizer, chance = TOKENIZERS[kind], random.Random(4)
    stopped = 0
    for _ in range(150):
        ids = random_ids(kind, chance, 25)
        whole = tokenizer.decode(ids)
        at = chance.randrange(len(whole) + 1)
        stop = whole[at : at + chance.randrange(1, 4)].replace("\ufffd", "") or "zz"
        ends = [end for end in range(1, 26) if stop in tokenizer.decode(ids[:end])]
        text, said = TextStream(tokenizer, [], [stop]), ""
        count = 0
        while count < 25 and not text.stopped:
            said += text.push(ids[count])
            count += 1
        said += text.flush()
        stopped += text.stopped
        assert said == tokenizer.decode(ids[:count]).split(stop)[0]
        assert count == (ends[0] if ends else 25), (ids, stop)
    assert stopped > 20
