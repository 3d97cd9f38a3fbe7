"""Where a text may end and where it must end."""

from dataclasses import dataclass

from dynexit.errors import DynexitError


@dataclass(frozen=True)
class Limits:
    """Where a text ends.

    Args:
        max_new_tokens: new tokens, at most; 0 only reads the prompt.
        max_positions: positions of the context.
        eos: tokens that end the text and are not part of it.
        min_new_tokens: before this many new tokens, none of `eos` can be chosen.
    """

    max_new_tokens: int
    max_positions: int
    eos: frozenset[int] = frozenset()
    min_new_tokens: int = 0

    @property
    def forbidden(self) -> tuple[frozenset[int], int]:
        """Tokens that cannot be chosen, and before how many new tokens."""
        return self.eos if self.min_new_tokens else frozenset(), self.min_new_tokens

    def check(self, prompt_length: int, vocabulary: int) -> None:
        """Check that a text can be written within the limits.

        Raises:
            DynexitError: it cannot; the message says why.
        """
        most, least = self.max_new_tokens, self.min_new_tokens
        if most < 0:
            raise DynexitError(f"max_new_tokens is {most}: it must be at least 0.")
        if not 0 <= least <= most:
            raise DynexitError(
                f"min_new_tokens is {least}: it must be between 0 and max_new_tokens, {most}."
            )
        if least and len(self.eos) >= vocabulary:
            raise DynexitError("every token ends the text, so min_new_tokens must be 0.")
        if prompt_length > self.max_positions:
            raise DynexitError(
                f"the prompt has {prompt_length} tokens, but the model's context holds "
                f"{self.max_positions}: shorten the prompt."
            )
