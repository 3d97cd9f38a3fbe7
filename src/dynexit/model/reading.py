"""Reads files of untrusted checkpoints: any fault in them becomes a one-sentence error."""

import stat
from pathlib import Path

from dynexit.errors import DynexitError, reason
from dynexit.model.config import Json
from dynexit.plain import parse_json

LARGEST = 2**28  # bytes of a file that is read whole: a large tokenizer has 2**25
REASON = 300  # characters of what an error says
READ_WHOLE = {".json", ".jinja", ".txt", ".model"}


def check_folder(folder: Path) -> None:
    """Look at what libraries may open by themselves: reading some files would never end.

    Raises:
        DynexitError: something that is neither file nor folder, or a text of absurd length.
    """
    try:
        found = [folder, *folder.iterdir()]
        files = [*found, *(file for each in found[1:] if each.is_dir() for file in each.iterdir())]
    except OSError as error:
        raise DynexitError(f"{folder} cannot be read: {reason(error)}.") from error
    for file in files:
        check_file(file)


def check_file(file: Path) -> None:
    """Check one of them; the code that needs a missing file reports it.

    Raises:
        DynexitError: as `check_folder`.
    """
    try:
        found = file.stat()
    except OSError:
        return
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise DynexitError(f"{file} is neither a regular file nor a folder.")
    if file.suffix in READ_WHOLE and found.st_size > LARGEST:
        raise DynexitError(f"{file} has {found.st_size} bytes: at most {LARGEST} are read.")


def read_json(file: Path) -> Json:
    """A JSON object from `file`, or a sentence that says what is wrong with it."""
    check_file(file)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DynexitError(
            f"{file} is missing: {file.parent} is not a complete checkpoint."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DynexitError(f"{file} cannot be read as JSON: {reason(error)}.") from error
    value = parse_json(text, str(file))
    if not isinstance(value, dict):
        raise DynexitError(f"{file} does not hold a JSON object.")
    return value


def said(error: BaseException) -> str:
    """What a library's error says, in one line that is not too long."""
    lines = str(error).strip().splitlines() or [repr(error)]
    return lines[0] if len(lines[0]) <= REASON else f"{lines[0][:REASON]}..."
