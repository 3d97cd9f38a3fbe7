"""Arguments that users of the evaluation harness give its own models, and what they mean here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from dynexit.errors import DynexitError
from dynexit.model.names import DTYPES
from dynexit.model.places import find_checkpoint
from dynexit.model.reading import read_json

# Values that ask for nothing beyond what is done anyway, like None for every name.
IDLE: Mapping[str, tuple[Any, ...]] = {
    "backend": ("default", "causal"),
    "revision": ("main",),
    "subfolder": ("",),
    "tokenizer": (),
    "truncation": (False, True),
    "logits_cache": (False, True),
    "trust_remote_code": (False,),
    "use_fast_tokenizer": (True,),
    "softmax_dtype": ("float32", "fp32"),
    "mixed_precision_dtype": (),
    "parallelize": (False,),
    "offload_folder": ("./offload",),
    "low_cpu_mem_usage": (False, True),
    "attn_implementation": ("eager", "sdpa"),
    "peft": (),
    "delta": (),
    "autogptq": (False,),
    "gptqmodel": (False,),
    "gguf_file": (),
    "enable_thinking": (False,),
    "think_end_token": (),
    "chat_template_args": (),
}
INSTEAD = {
    "trust_remote_code": "code in a checkpoint is never run",
    "revision": "download that revision and give its folder",
    "subfolder": "give the folder itself",
    "tokenizer": "put the tokenizer into the checkpoint's folder",
    "peft": "merge the adapter into the checkpoint",
    "delta": "add the difference to the checkpoint",
}


@dataclass(frozen=True)
class Arguments:
    """What a user says of the model, besides its name and method.

    Args:
        dtype: as in `load`; "auto" is the checkpoint's own.
        max_length: tokens of a text, prompt included; None is the model's context.
        max_gen_toks: new tokens where a task does not say.
        add_bos_token: whether a text begins with BOS; None is as the tokenizer does.
        prefix_token_id: what an empty context is conditioned on; None is BOS.
        batch_size: accepted because the harness passes it; sequences run one at a time.
    """

    dtype: str | None = None
    device: str | None = None
    draft_model: str | None = None
    max_length: int | None = None
    max_gen_toks: int = 256
    add_bos_token: bool | None = None
    prefix_token_id: int | None = None
    batch_size: int | str = 1
    max_batch_size: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Arguments, and what is left for the method.

        Raises:
            DynexitError: one that asks for what cannot be done.
        """
        known = cls.__dataclass_fields__
        own = {name: value for name, value in given.items() if name in known}
        rest = {name: value for name, value in given.items() if name not in known}
        return cls(**own), without_idle(rest)


def without_idle(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is left for the method when the harness's usual arguments are taken away.

    Raises:
        DynexitError: one that asks for what cannot be done.
    """
    for name, value in given.items():
        if name in IDLE and value is not None and value not in IDLE[name]:
            reason = INSTEAD.get(name, "there is no such choice here")
            raise DynexitError(f"{name}={value} cannot be used: {reason}; leave it out.")
    return {name: value for name, value in given.items() if name not in IDLE}


def dtype_named(name: str | None, pretrained: str | None) -> str | None:
    """A dtype for `load`; "auto" is the one that the checkpoint names, as in transformers."""
    if name != "auto":
        return name
    folder = None if pretrained is None else find_checkpoint(pretrained)
    if folder is None or not folder.is_dir():
        return None
    told = read_json(folder / "config.json")
    found = told.get("dtype") or told.get("torch_dtype")
    return found if found in DTYPES else None


def checked_length(wanted: int | None, context: int) -> int:
    """How many tokens a text may have.

    Raises:
        DynexitError: more than the context holds, or no number of tokens that can be scored.
    """
    if wanted is None:
        return context
    if not isinstance(wanted, int) or not 2 <= wanted <= context:
        raise DynexitError(
            f"max_length is {wanted!r}: it must be a number of tokens from 2 to {context}, the "
            "model's context."
        )
    return wanted
