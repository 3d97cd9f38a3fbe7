"""Where a text may end, and where it must."""

from dataclasses import dataclass

from dynexit.errors import DynexitError


@dataclass(frozen=True)
class Limits:
    """Where a text ends.

    Args:
        max_new_tokens: that it may have; 0 reads the prompt and writes nothing.
        max_positions: of the context.
        eos: tokens that end it. They are not part of it.
        min_new_tokens: before so many, none of `eos` can be chosen.
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
        """Whether a text can be written within them.

        Raises:
            DynexitError: it cannot, with the reason.
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
