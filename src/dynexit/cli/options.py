"""Options that several commands share, and how a model is loaded for a command."""

import warnings
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Checkpoint folder or hub id [default: the bundled model]."),
]
Dtype = Annotated[
    str | None, typer.Option(help="bf16, fp16, fp32 or fp64 [default: what is fast here].")
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:N, or several: cuda:0,cuda:1 [default: cuda if any]."),
]
Runtime = Annotated[
    str | None, typer.Option(help="native (C++) or eager (PyTorch) [default: native if it can].")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads [default: all cores].")]

notes = Console(stderr=True, soft_wrap=True, highlight=False)


def load_for_command(
    model: str | None,
    dtype: str | None,
    device: str | None,
    threads: int | None = None,
    runtime: str | None = None,
) -> "LanguageModel":
    """Load a model; its warnings go to the terminal as one line each."""
    import torch

    from dynexit.language_model import load

    if threads is not None:
        torch.set_num_threads(threads)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        lm = load(model, dtype=dtype, device=device, runtime=runtime)
    for warning in caught:
        notes.print(f"[yellow]warning:[/] {warning.message}")
    return lm


def load_second(
    model: str | None, dtype: str | None, device: str | None, runtime: str | None
) -> "LanguageModel | None":
    """The model that drafts, where one is named."""
    return None if model is None else load_for_command(model, dtype, device, None, runtime)
