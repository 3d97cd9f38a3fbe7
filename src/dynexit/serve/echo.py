"""Prompts in front of their completions, with their log-probabilities where these are wanted."""

from dataclasses import dataclass

from dynexit.decoding.detokenizing import Detokenizer
from dynexit.decoding.sequence import Decoding
from dynexit.language_model import Prompt
from dynexit.model.tokenizer import CheckpointTokenizer
from dynexit.serve.replies import CompletionLogprobs
from dynexit.serve.tokens import TokenNames


@dataclass(frozen=True)
class Echo:
    """What a text's prompt says, and where each of its tokens begins there."""

    text: str
    offsets: list[int]

    @classmethod
    def of(cls, prompt: Prompt, ids: list[int], tokenizer: CheckpointTokenizer | None) -> "Echo":
        """A prompt as it was given; token ids as the text that they say."""
        if tokenizer is None:
            return cls("", [0] * len(ids))
        decoded, said, offsets = Detokenizer(tokenizer.backend, []), "", []
        for token in ids:
            offsets.append(len(said))
            said += decoded.push(token)
        return cls(prompt if isinstance(prompt, str) else said + decoded.settle(), offsets)

    def logprobs(self, sequence: Decoding, names: TokenNames, as_ids: bool) -> CompletionLogprobs:
        """Of the prompt's tokens; nothing foretells the first."""
        said = sequence.prompt_logprobs
        return CompletionLogprobs(
            tokens=[names.name(t, as_ids) for t in sequence.tokens[: sequence.prompt_length]],
            token_logprobs=[None, *(one.logprob for one in said)],
            top_logprobs=[None, *(names.top(one, as_ids) for one in said)],
            text_offset=self.offsets,
        )
