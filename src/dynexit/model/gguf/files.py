"""Which files a name means: one GGUF file, all parts of a split one, or one of several that lie
together, on disk or on the hub.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path

from dynexit.errors import DynexitError

SUFFIX = ".gguf"
PART = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
TAGGED = re.compile(r"^(?P<repo>[\w.-]+/[\w.-]+):(?P<tag>[\w.-]+)$")


def is_gguf(path: Path) -> bool:
    """Whether a path means a GGUF file rather than a folder."""
    return path.suffix == SUFFIX


def check_new(file: Path) -> None:
    """Raises DynexitError where something would be written over."""
    if file.exists():
        raise DynexitError(f"{file} already exists: give a new name, or remove it.")


def parts_of(file: Path) -> list[Path]:
    """All files of a model, in order, given any one of them.

    Raises:
        DynexitError: a part is missing.
    """
    found = PART.match(file.name)
    if not found:
        return [file]
    count = int(found["count"])
    parts = [file.with_name(name) for name in _part_names(found["stem"], count)]
    if missing := [part for part in parts if not part.is_file()]:
        raise DynexitError(
            f"{missing[0]} is missing: {file.name} is one of {count} parts of a model."
        )
    return parts


def _part_names(stem: str, count: int) -> list[str]:
    return [f"{stem}-{number:05}-of-{count:05}{SUFFIX}" for number in range(1, count + 1)]


def choose(names: Iterable[str], tag: str | None, where: str) -> str | None:
    """Which of these files is meant, the first part where it is split; None where none is GGUF.

    Args:
        tag: what the name ends with or has between its signs, such as Q4_K_M.

    Raises:
        DynexitError: several and none chosen, or none of them is the one that was.
    """
    whole = sorted(n for n in names if n.endswith(SUFFIX) and _number(n) in (None, 1))
    whole = [name for name in whole if not fnmatch(Path(name).name, "*mmproj*")]
    if not whole:
        return None
    chosen = [name for name in whole if tag is None or _has_tag(name, tag)]
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(sorted({_tag_of(name, whole) for name in whole}))
    if tag is not None and not chosen:
        raise DynexitError(f"{where} has no {tag}: it has {listed}.")
    raise DynexitError(f"{where} has several GGUF files: choose one of {listed}.")


def _number(name: str) -> int | None:
    found = PART.match(name)
    return int(found["number"]) if found else None


def _has_tag(name: str, tag: str) -> bool:
    return (
        re.search(rf"(^|[-./_]){re.escape(tag)}($|[-./])", _bare(name), re.IGNORECASE) is not None
    )


def _bare(name: str) -> str:
    found = PART.match(name)
    return found["stem"] if found else name.removesuffix(SUFFIX)


def _tag_of(name: str, names: list[str]) -> str:
    """What follows the beginning that all files share, cut at a sign."""
    bare, others = _bare(name), [_bare(other) for other in names]
    shared = len(_shared(others)) if len(others) > 1 else 0
    cut = max(bare.rfind(sign, 0, shared) for sign in "-./") + 1
    return bare[cut:]


def _shared(texts: list[str]) -> str:
    least, most = min(texts), max(texts)
    end = next((i for i, c in enumerate(least) if c != most[i : i + 1]), len(least))
    return least[:end]


def find_on_hub(
    repository: str, tag: str | None, trouble: Callable[[BaseException], str]
) -> Path | None:
    """The file of a hub repository, downloaded or from the cache; None where it has no GGUF.

    Args:
        trouble: says in words what the hub's client raised.
    """
    from huggingface_hub import snapshot_download

    try:
        chosen = choose(_listed(repository), tag, repository)
        if chosen is None:
            return None
        wanted = PART.sub(r"\g<stem>-*-of-\g<count>.gguf", chosen)
        return Path(snapshot_download(repository, allow_patterns=[wanted])) / chosen
    except DynexitError:
        raise
    except Exception as error:  # the hub client raises many kinds: network, access, name
        raise DynexitError(f"cannot get {repository!r}: {trouble(error)}.") from error


def _listed(repository: str) -> list[str]:
    """Files of a repository, or what of it lies in the cache where the hub is out of reach."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        return list(HfApi().list_repo_files(repository))
    except Exception:
        folder = Path(snapshot_download(repository, local_files_only=True))
        return [str(file.relative_to(folder)) for file in folder.rglob(f"*{SUFFIX}")]
