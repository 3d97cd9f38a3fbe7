"""How replies name tokens: by text, by bytes where that is part of a character, or by id."""

from functools import cache

from dynexit.decoding.detokenizing import BYTE, falls_back_to_bytes
from dynexit.decoding.logprobs import TokenLogprobs
from dynexit.model.tokenizer import CheckpointTokenizer


class TokenNames:
    """Names of a checkpoint's tokens; without a tokenizer they have none but ids."""

    def __init__(self, tokenizer: CheckpointTokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._byte_level = self._falls_back = False
        if tokenizer is not None:
            decoder = tokenizer.backend.decoder
            self._byte_level = decoder is not None and b'"ByteLevel"' in decoder.__getstate__()
            self._falls_back = falls_back_to_bytes(tokenizer.backend)
        self.text = cache(self._text)

    def _text(self, token: int) -> str:
        return self._tokenizer.piece(token) if self._tokenizer else ""

    def bytes_of(self, token: int) -> bytes | None:
        """What a token is of a text in UTF-8; None where its decoder does not tell."""
        name = self._tokenizer.backend.id_to_token(token) if self._tokenizer else None
        if name is not None and self._falls_back and (found := BYTE.fullmatch(name)):
            return bytes([int(found[1], 16)])
        if name is not None and self._byte_level:
            letters = _bytes_of_letters()
            if all(letter in letters for letter in name):
                return bytes(letters[letter] for letter in name)
        text = self.text(token)
        return None if "\ufffd" in text else text.encode()

    def name(self, token: int, as_id: bool = False) -> str:
        r"""A token's text, or `bytes:\xf0\x9f` for part of a character, or `token_id:7`."""
        if as_id or self._tokenizer is None:
            return f"token_id:{token}"
        known = self.bytes_of(token)
        if known is None:
            return self.text(token)
        try:
            known.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in known)
        return self.text(token)

    def top(self, said: TokenLogprobs, as_ids: bool = False) -> dict[str, float]:
        """The token's log-probability, and those of the likeliest, by name.

        Where two tokens have one name, the token that was written has it, then the likelier one;
        the other goes by its id.
        """
        values = dict(said.top)
        values[said.token] = said.logprob
        named = {self.name(said.token, as_ids): said.token}
        for token, _ in said.top:
            if named.setdefault(self.name(token, as_ids), token) != token:
                named[self.name(token, as_id=True)] = token
        likeliest_first = sorted(named, key=lambda name: -values[named[name]])
        return {name: values[named[name]] for name in likeliest_first}


@cache
def _bytes_of_letters() -> dict[str, int]:
    """The letters that byte-level tokenizers write bytes with."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(256 + at): byte for at, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted
