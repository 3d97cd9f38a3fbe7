"""Options that several commands share, and how a model is loaded for a command."""

import dataclasses
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynexit.cli.printing import note, notes
from dynexit.errors import INTERRUPTED, DynexitError
from dynexit.model.names import check_names
from dynexit.model.places import check_checkpoint
from dynexit.model.threads import check_threads, use_threads

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel
    from dynexit.tasks.base import Example

HUB_SECONDS = 5.0  # that the hub has to answer
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Folder, GGUF file, hub id or bundled [default: bundled]."),
]
ModelArgument = Annotated[
    str | None, typer.Argument(help="Folder, GGUF file, hub id or bundled [default: bundled].")
]
DraftModel = Annotated[
    str | None,
    typer.Option(help="Checkpoint that drafts: a small one (two-model) or diffusion (diffuspec)."),
]
Dtype = Annotated[
    str | None, typer.Option(help="bf16, fp16, fp32 or fp64 [default: the fast one here].")
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:N, or several: cuda:0,cuda:1 [default: cuda if found]."),
]
Runtime = Annotated[
    str | None,
    typer.Option(help="native (C++), graphs (CUDA) or eager [default: the first that works]."),
]
LearnedIn = Annotated[
    str | None,
    typer.Option("--learned", help="Folder made by learn, or none [default: found by model]."),
]
LearnedOut = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="Folder to write [default: in the cache, found automatically]."
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads, at most one per core [default: all cores].")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        "-t",
        help="Task name, or jsonl:FILE for your own; may repeat [default: all with answers].",
    ),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Local data files with the hub's field names [default: hub].")
]
NumSamples = Annotated[int | None, typer.Option(min=1, help="Examples per task [default: all].")]
Shots = Annotated[
    int | None,
    typer.Option("--n-shot", min=0, help="Examples in the prompt [default: the task's]."),
]
Template = Annotated[str, typer.Option(help="del: the published prompts; cue: with answer cues.")]
NewTokens = Annotated[
    int, typer.Option("--max-new-tokens", "-n", min=1, help="New tokens per text, at most.")
]
Seed = Annotated[int, typer.Option(help="Random seed for shuffling and sampling.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def check_folder_of(file: Path | None, option: str) -> None:
    """Raises DynexitError where the folder of a file to be written does not exist."""
    if file is not None and not file.parent.is_dir():
        raise DynexitError(f"{option} {file}: folder {file.parent} does not exist: make it first.")


def check_folder(out: Path, option: str) -> None:
    """Raises DynexitError where `out` is a file, not a folder."""
    if out.exists() and not out.is_dir():
        raise DynexitError(f"{option} {out} is a file: give a folder.")


def look_for_hub(tasks: list[str] | None, data_dir: Path | None) -> None:
    """If the hub is out of reach, make its client read the cache at once instead of retrying."""
    if data_dir is not None or (tasks and all(task.startswith("jsonl:") for task in tasks)):
        return
    from http.client import HTTPException
    from ssl import SSLError
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urlopen(Request(address, method="HEAD"), timeout=HUB_SECONDS).close()
    except HTTPError:  # it answers
        return
    except (OSError, HTTPException, ValueError) as error:
        if not isinstance(getattr(error, "reason", error), SSLError):  # whose client may trust it
            os.environ.setdefault("HF_HUB_OFFLINE", "1")


@contextmanager
def starting(what: str = "loading") -> Iterator[None]:
    """While modules or a model load: show a spinner on a terminal; an interrupt prints one line."""
    spinner: AbstractContextManager[object] = nullcontext()
    if notes.is_terminal:
        spinner = notes.status(what)
    try:
        with spinner:
            yield
    except KeyboardInterrupt:
        notes.print("interrupted")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def noted_warnings() -> Iterator[None]:
    """Print each warning to the terminal as one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        note("warning:", "yellow", str(warning.message))


@dataclass(frozen=True)
class Loading:
    """How a command's models are loaded."""

    dtype: Dtype = None
    device: Device = None
    threads: Threads = None
    runtime: Runtime = None
    learned: LearnedIn = None

    def __post_init__(self) -> None:
        check_names(self.dtype, self.device, self.runtime)

    @property
    def learned_in(self) -> str | bool | None:
        """As `dynexit.load` takes it."""
        return False if self.learned == "none" else self.learned

    def load(self, model: str | None, check: bool = True) -> "LanguageModel":
        """Load a model that writes, and print its warnings, one line each. `check` as for
        `dynexit.load`.
        """
        lm = self._load(model, check)
        lm.check_writes()
        return lm

    def _load(self, model: str | None, check: bool = True) -> "LanguageModel":
        check_threads(self.threads)
        check_checkpoint(model)  # a download shows bars, which a spinner would hide
        with starting():
            from dynexit.language_model import load

        use_threads(self.threads)
        with starting(f"loading {model or 'the bundled model'}"), noted_warnings():
            where = (self.dtype, self.device, check, self.runtime)
            return load(model, *where, learned=self.learned_in)

    def load_both(
        self, model: str | None, second: str | None, check: bool = True
    ) -> "tuple[LanguageModel, LanguageModel | None]":
        """Load a model, and the draft model if one is named. `check` as for `dynexit.load`."""
        check_checkpoint(second)
        lone = dataclasses.replace(self, learned="none")  # what drafts for another
        return self.load(model, check), None if second is None else lone._load(second)


@dataclass(frozen=True)
class Prompts:
    """Which examples of which tasks a command reads: a few by default."""

    task: Tasks = None
    data_dir: DataDir = None
    num_samples: NumSamples = 8
    n_shot: Shots = None
    template: Template = "del"
    seed: Seed = 0

    def load(self) -> "list[tuple[str, Example]]":
        """All (task, example) pairs, task by task."""
        from dynexit.tasks import load_examples, usual_tasks

        look_for_hub(self.task, self.data_dir)
        return [
            (name, example)
            for name in self.task or usual_tasks()
            for example in load_examples(
                *(name, self.data_dir, self.num_samples), self.n_shot, self.template, self.seed
            )
        ]
