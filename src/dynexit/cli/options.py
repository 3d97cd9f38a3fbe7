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
    str | None,
    typer.Argument(help="Folder, GGUF file, hub id or bundled [default: bundled]."),
]
DraftModel = Annotated[
    str | None, typer.Option(help="Smaller checkpoint that drafts, for two-model.")
]
Dtype = Annotated[
    str | None, typer.Option(help="bf16, fp16, fp32 or fp64 [default: what is fast here].")
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:N, or several: cuda:0,cuda:1 [default: cuda if any]."),
]
Runtime = Annotated[
    str | None,
    typer.Option(help="native (C++), graphs (CUDA) or eager [default: the first that can]."),
]
LearnedIn = Annotated[
    str | None,
    typer.Option("--learned", help="Folder that learn made, or none [default: what is found]."),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads, as many as cores at most [default: all cores]."),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task", "-t", help="May repeat [default: all that have answers]; jsonl:FILE is yours."
    ),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Rows as local files, in the hub's field names [default: hub].")
]
NumSamples = Annotated[int | None, typer.Option(min=1, help="Examples per task [default: all].")]
Shots = Annotated[int | None, typer.Option("--n-shot", min=0, help="[default: the task's own].")]
Template = Annotated[str, typer.Option(help="del: the published prompts; cue: cues for answers.")]
NewTokens = Annotated[int, typer.Option("--max-new-tokens", "-n", min=1)]
Seed = Annotated[int, typer.Option(help="Of the shuffling and of the sampling.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def check_folder_of(file: Path | None, option: str) -> None:
    """Raises DynexitError where a file that is to be written has no folder to be in."""
    if file is not None and not file.parent.is_dir():
        raise DynexitError(f"{option} {file}: there is no folder {file.parent}: make it first.")


def check_folder(out: Path, option: str) -> None:
    """Raises DynexitError where a file has the name of a folder that is to be written."""
    if out.exists() and not out.is_dir():
        raise DynexitError(f"{option} {out} is a file: give a folder.")


def look_for_hub(tasks: list[str] | None, data_dir: Path | None) -> None:
    """Where the hub is out of reach, its client reads its cache at once: it would try for long."""
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
    """Modules or a model are loaded: a spinner on a terminal, and an interrupt is one line."""
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
    """What is warned of goes to the terminal as one line each."""
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
        """Load a model; its warnings go to the terminal as one line each. `check` as for `load`."""
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
        """A model, and the one that drafts, where one is named. `check` as for `load`."""
        check_checkpoint(second)
        lone = dataclasses.replace(self, learned="none")  # what drafts for another
        return self.load(model, check), None if second is None else lone.load(second)


@dataclass(frozen=True)
class Prompts:
    """Which examples of which tasks a command reads: a few, unless told otherwise."""

    task: Tasks = None
    data_dir: DataDir = None
    num_samples: NumSamples = 8
    n_shot: Shots = None
    template: Template = "del"
    seed: Seed = 0

    def load(self) -> "list[tuple[str, Example]]":
        """(task, example) of all, a task after the other."""
        from dynexit.tasks import load_examples, usual_tasks

        look_for_hub(self.task, self.data_dir)
        return [
            (name, example)
            for name in self.task or usual_tasks()
            for example in load_examples(
                *(name, self.data_dir, self.num_samples), self.n_shot, self.template, self.seed
            )
        ]
