"""How replies name tokens of a tokenizer that falls back to bytes."""

from tokenizers import Tokenizer, decoders, models

from dynexit.decoding.logprobs import TokenLogprobs
from dynexit.model.tokenizer import CheckpointTokenizer
from dynexit.serve.tokens import TokenNames
from dynexit.training.vocabulary import save_tokenizer


def test_two_tokens_of_one_name_are_both_told(tmp_path):
    pieces = {"<unk>": 0, "a": 1, "<0x61>": 2, "<0xF0>": 3}
    made = Tokenizer(models.BPE(pieces, [], unk_token="<unk>", byte_fallback=True))
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    save_tokenizer(made, tmp_path, 512)
    tokenizer = CheckpointTokenizer(tmp_path)
    plain, byte, part = map(tokenizer.backend.token_to_id, ("a", "<0x61>", "<0xF0>"))
    top = ((byte, -1.0), (plain, -2.0), (part, -3.0))
    names = TokenNames(tokenizer)
    assert names.top(TokenLogprobs(plain, -2.0, top)) == {
        f"token_id:{byte}": -1.0, "a": -2.0, "bytes:\\xf0": -3.0
    }  # fmt: skip
    assert names.top(TokenLogprobs(byte, -1.0, top))["a"] == -1.0
    assert names.top(TokenLogprobs(part, -9.0, top[:1])) == {"a": -1.0, "bytes:\\xf0": -9.0}
