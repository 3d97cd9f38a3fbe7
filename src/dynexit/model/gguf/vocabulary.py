"""Writes a tokenizer under llama.cpp's own keys. What these cannot express is refused."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gguf import GGUFWriter, TokenType

from dynexit.errors import DynexitError
from dynexit.model.gguf.tokens import NONE, SPLITTINGS

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
SPACE = "▁"
PREPENDED = {"type": "Prepend", "prepend": SPACE}
REPLACED = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
SPECIAL = {"bos": "bos", "unk": "unknown", "pad": "padding"}  # ours -> of llama.cpp's key
Merges = list[tuple[str, str]]


def add_tokenizer(writer: GGUFWriter, loaded: Any, size: int) -> None:
    """Write a tokenizer's vocabulary, special tokens and chat template.

    Args:
        loaded: transformers' tokenizer; None writes that there is none.
        size: of the model's vocabulary, to which the file's is padded.

    Raises:
        DynexitError: it does something that llama.cpp would not do.
    """
    if loaded is None:
        writer.add_tokenizer_model(NONE)
        return
    told = json.loads(loaded.backend_tokenizer.to_str())
    if told["model"]["type"] != "BPE":
        raise _refusal(f"it is a {told['model']['type']} model, not BPE")
    merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in told["model"]["merges"]]
    tokens, types = _tokens(told, loaded.get_vocab(), size)
    if told["model"]["byte_fallback"]:
        _check_spaces(told)
        if loaded.unk_token_id is not None:  # in byte-level ones, nothing is unknown
            types[loaded.unk_token_id] = TokenType.UNKNOWN
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(tokens, types, merges))
        writer.add_add_space_prefix(True)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_splitting(told))
        if not merges:
            raise _refusal("it has no merges")
        writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    _add_special(writer, loaded)


def add_ends(writer: GGUFWriter, ends: Iterable[int], first: int | None) -> None:
    """Ids that end a text, `first` before others.

    Raises:
        DynexitError: there are more than a file has keys for.
    """
    ordered = sorted(ends, key=lambda token: (token != first, token))
    keys = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    if len(ordered) > len(keys):
        raise DynexitError(
            f"{len(ordered)} tokens end this model's texts, but a GGUF file can name only "
            f"{len(keys)}."
        )
    for add, token in zip(keys, ordered, strict=False):
        add(token)


def _tokens(
    told: Mapping[str, Any], vocabulary: Mapping[str, int], size: int
) -> tuple[list[str], list[int]]:
    """Text and type of every id, padded to `size`."""
    if max(vocabulary.values()) >= size:
        raise _refusal(f"it has {max(vocabulary.values()) + 1} tokens but the model has {size}")
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for text, index in vocabulary.items():
        tokens[index], types[index] = text, TokenType.NORMAL
        if told["model"]["byte_fallback"] and BYTE.fullmatch(text):
            types[index] = TokenType.BYTE
    for added in told["added_tokens"]:
        if added["lstrip"] or added["rstrip"] or added["single_word"]:
            raise _refusal(f"its token {added['content']!r} strips the spaces beside it")
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        types[added["id"]] = kind
    return tokens, types


def _splitting(told: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a byte-level tokenizer splits a text before it merges."""
    if (told["normalizer"] or {}).get("type") not in (None, "NFC"):
        raise _refusal(f"it normalises text by {told['normalizer']['type']}")
    mine = _rules(told["pre_tokenizer"]), bool(told["model"]["ignore_merges"])
    for name, (splitter, whole) in SPLITTINGS.items():
        if mine == (_rules(json.loads(splitter.__getstate__())), whole):
            return name
    known = ", ".join(SPLITTINGS)
    raise _refusal(f"it splits text differently from {known}")


def _rules(splitter: Mapping[str, Any] | None) -> Any:
    """A pre-tokenizer's settings, without one that no id depends on."""
    if splitter is None:
        return None
    inner = [_rules(one) for one in splitter.get("pretokenizers", ())]
    rest = {k: v for k, v in splitter.items() if k not in ("pretokenizers", "trim_offsets")}
    return rest, inner


def _check_spaces(told: Mapping[str, Any]) -> None:
    """SentencePiece's way: a space is a sign, and one is put before the text."""
    normalizer, splitter = told["normalizer"], told["pre_tokenizer"] or {}
    if normalizer is None and splitter.get("type") == "Metaspace":
        known = splitter["prepend_scheme"] in ("first", "always") and not splitter["split"]
    else:
        steps = (normalizer or {}).get("normalizers")
        known = steps == [PREPENDED, REPLACED] and told["pre_tokenizer"] is None
    if not known:
        raise _refusal("it treats spaces differently from Llama 2's")


def _scores(tokens: list[str], types: list[int], merges: Merges) -> list[float]:
    """Of neighbours llama.cpp joins those whose joint token has the highest score, whichever they
    are: so all pairs that make a token must be merges. Tokens whose merges take turns are alike.
    """
    spans: dict[str, tuple[int, int]] = {}  # of a token's merges, the first and the last
    for rank, (left, right) in enumerate(merges):
        spans[left + right] = spans.get(left + right, (rank, rank))[0], rank
    levels, level, end = dict.fromkeys(tokens, len(merges)), 0, -1
    for token, (first, last) in spans.items():
        level, end = first if first > end else level, max(end, last)
        levels[token] = level
    known = {text for text, kind in zip(tokens, types, strict=True) if kind == TokenType.NORMAL}
    pairs = {
        (text[:at], text[at:])
        for text in known
        for at in range(1, len(text))
        if text[:at] in known and text[at:] in known
    }
    if not pairs <= set(merges):
        raise _refusal("its merges are not those of a SentencePiece model")
    if not {f"<0x{byte:02X}>" for byte in range(256)} <= set(tokens):
        raise _refusal("it has no token for some of the 256 bytes")
    return [-float(levels[text]) for text in tokens]


def _add_special(writer: GGUFWriter, loaded: Any) -> None:
    """Special tokens, what is put around a text, and the chat template."""
    for ours, theirs in SPECIAL.items():
        if (token := getattr(loaded, f"{ours}_token_id")) is not None:
            writer.add_uint32(f"tokenizer.ggml.{theirs}_token_id", token)
    bare = loaded.backend_tokenizer.encode("a", add_special_tokens=False).ids
    around = loaded("a")["input_ids"]
    begins, ends = around[:1] == [loaded.bos_token_id], around[-1:] == [loaded.eos_token_id]
    if around[begins : len(around) - ends] != bare:
        raise _refusal("it puts tokens other than BOS and EOS around a text")
    writer.add_add_bos_token(begins)
    writer.add_add_eos_token(ends)
    template = loaded.chat_template
    if isinstance(template, dict):
        template = [{"name": name, "template": text} for name, text in template.items()]
    if template:
        writer.add_chat_template(template)


def _refusal(why: str) -> DynexitError:
    return DynexitError(f"a GGUF file cannot hold this tokenizer: {why}.")
