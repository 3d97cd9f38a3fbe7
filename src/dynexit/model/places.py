"""Where a checkpoint is: with dynexit, in a folder or a GGUF file, or on the hub.

Nothing here imports PyTorch, so that a wrong name is refused at once.
"""

import os
import re
import socket
from pathlib import Path

from dynexit.errors import DynexitError
from dynexit.model.families import parse_config
from dynexit.model.gguf.files import TAGGED, choose, find_on_hub, is_gguf
from dynexit.model.reading import read_json

BUNDLED = Path(__file__).parents[1] / "bundled"  # the model that comes with dynexit
CHAT_MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"  # that `make` fetches into the clone's .cache
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
WAYS = "give a checkpoint's folder, a GGUF file or a hub id"


def find_checkpoint(model: str | Path | None) -> Path:
    """A local folder or GGUF file as it is; else a hub id, from the cache or downloaded.

    None and "bundled" are the model that comes with dynexit; a folder of that name is "./bundled".
    A hub id may end with `:` and which of a repository's GGUF files is meant.

    Raises:
        DynexitError: neither a folder, a file nor a hub repository that can be reached.
    """
    if model is None or model == BUNDLED.name:
        return BUNDLED
    if not isinstance(model, str | Path) or not str(model):
        raise DynexitError(f"model is {model!r}: {WAYS}.")
    name, folder = str(model), Path(model).expanduser()
    if folder.is_dir():
        return _inside(folder)
    if is_gguf(folder):
        if folder.is_file():
            return folder
        raise DynexitError(f"file {name!r} does not exist.")
    if folder.exists():
        raise DynexitError(f"file {name} does not end in .gguf: {WAYS}.")
    if tagged := TAGGED.match(name):
        if found := find_on_hub(tagged["repo"], tagged["tag"], _hub_trouble):
            return found
        raise DynexitError(f"{tagged['repo']} has no GGUF file.")
    local = folder.is_absolute() or name.startswith((".", "~")) or name.endswith("/")
    if local or name.count("/") > 1:
        raise DynexitError(f"folder {name!r} does not exist: {WAYS}.")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # the hub client raises many kinds: network, access, name
        raise DynexitError(
            f"cannot get {name!r}: it is not a local folder, and {_hub_trouble(error)}."
        ) from error
    if (folder / "config.json").exists():
        return folder
    return find_on_hub(name, None, _hub_trouble) or folder


def find_chat_model() -> Path | None:
    """The chat model if it is here: $DYNEXIT_SMOLLM2, or in .cache of this folder or the clone."""
    named = os.environ.get("DYNEXIT_SMOLLM2")
    folders = (Path(".cache"), Path(__file__).parents[3] / ".cache")
    places = [Path(named)] if named else [folder / CHAT_MODEL for folder in folders]
    return next((place for place in places if place.is_file()), None)


def check_checkpoint(model: str | Path | None) -> Path:
    """Find it, on the hub, too, and read its shape; returns where it is.

    Raises:
        DynexitError: it is not there, or a folder without a config.json that can be run.
    """
    found = find_checkpoint(model)
    if not is_gguf(found):
        parse_config(read_json(found / "config.json"))
    return found


def _inside(folder: Path) -> Path:
    """A folder, or its GGUF file where it holds one instead of a checkpoint."""
    if (folder / "config.json").exists():
        return folder
    chosen = choose((file.name for file in folder.iterdir()), None, str(folder))
    return folder if chosen is None else folder / chosen


def _hub_trouble(error: BaseException) -> str:
    """Whether the hub was not reached, or what it said."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    for one in chain:
        if isinstance(one, ConnectionError | TimeoutError | socket.gaierror):
            reason = re.sub(r"^\[Errno -?\d+\] ", "", _first_line(chain[-1])).rstrip(".")
            return f"the hub cannot be reached ({reason})"
    return f"the hub said: {_first_line(error).rstrip('.')}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
