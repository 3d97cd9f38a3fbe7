"""What fields of requests are made of."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Nothing that is not listed; numbers are not read out of text."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def is_unicode(text: str) -> str:
    """Refuses half a character, which JSON can spell and which is no text."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half of a surrogate pair is not a character")
    return text


AT_LEAST_1 = Field(min_length=1, fail_fast=True)  # a fault is told once, not for every item
Utf8 = Annotated[str, AfterValidator(is_unicode)]
