"""`dynexit perplexity`: how surprised a model is by a text."""

from pathlib import Path
from typing import Annotated

import typer

from dynexit.cli.generate import read_prompt
from dynexit.cli.options import AsJson, Loading
from dynexit.cli.printing import print_json, say
from dynexit.cli.spreading import spread


@spread
def perplexity(
    model: Annotated[str, typer.Argument(help="Folder, GGUF file, hub id or bundled.")],
    file: Annotated[Path, typer.Argument(help="File of text to read.")],
    window: Annotated[int, typer.Option(help="Tokens per window.")] = 512,
    as_json: AsJson = False,
    *,
    how: Loading,
) -> None:
    """Measure a text's perplexity as llama.cpp does: over the second half of each window."""
    text = read_prompt(None, file)
    lm = how.load(model)
    from dynexit.perplexity import measure

    found = measure(lm, text, window)
    if as_json:
        print_json(
            {
                "model": lm.name,
                "runtime": lm.model.runtime_name,
                "dtype": str(lm.model.dtype).removeprefix("torch."),
                "window": window,
                "windows": found.windows,
                "tokens": found.tokens,
                "nats": found.nats,
                "perplexity": found.perplexity,
            }
        )
        return
    say(
        f"perplexity {found.perplexity:.4f} over {found.tokens} tokens in {found.windows} windows "
        f"of {window} ({lm.model.runtime_name})"
    )
