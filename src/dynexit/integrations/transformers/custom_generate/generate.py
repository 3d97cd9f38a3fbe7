"""Generates with dynexit: the same text in fewer passes. Belongs into a checkpoint's repository.

With this folder beside `config.json`, `generate` of a model that was loaded from there with
`trust_remote_code=True` decodes speculatively; and any model can borrow it:
`model.generate(**inputs, custom_generate="REPOSITORY", trust_remote_code=True, method="del")`.
"""

from typing import Any

import dynexit


def generate(
    inputs: Any = None,
    *,
    model: Any,
    streamer: Any = None,
    tokenizer: Any = None,
    stop_strings: Any = None,
    stopping_criteria: Any = None,
    **arguments: Any,
) -> Any:
    """`model.generate` with `method`, `draft_model`, `seed` and `acceptance` besides its own.

    Args:
        inputs: [B, T] token ids, padded on the left.
        stop_strings: as in `generate`; they need `tokenizer`.
    """
    from transformers import StoppingCriteriaList, StopStringCriteria

    criteria = StoppingCriteriaList(stopping_criteria or [])
    if stop_strings is not None:
        criteria.append(StopStringCriteria(tokenizer, stop_strings))
    return type(model).generate(  # not the model's own attribute, which may be this function
        model,
        inputs,
        streamer=streamer,
        stopping_criteria=criteria,
        custom_generate=dynexit.generate_hf,
        **arguments,
    )
