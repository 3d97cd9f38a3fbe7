"""The one exception that users meet: a sentence that names what was wrong and what to do."""

import json

INTERRUPTED = 130  # exit code of a command that was interrupted, as shells have it
CLOSED = 141  # of one whose reader has gone, by the same convention
WORDS: dict[type[BaseException], str] = {
    FileNotFoundError: "there is no such file or folder",
    IsADirectoryError: "it is a folder: give a file",
    NotADirectoryError: "a part of this path is a file, where a folder is needed",
    PermissionError: "permission denied",
    UnicodeDecodeError: "it is not UTF-8 text",
}


class DynexitError(ValueError):
    """Bad input, an unusable checkpoint or a machine that cannot do what was asked.

    The message is one sentence for a person. The command line prints it and exits with code 2.
    """


def reason(error: BaseException) -> str:
    """Why, in a few words: the system's where it is behind a library's."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, OSError | UnicodeDecodeError):
        behind = behind.__cause__ or behind.__context__
    if behind is not None and type(behind) in WORDS:
        return WORDS[type(behind)]
    if isinstance(error, json.JSONDecodeError):
        return _json_reason(error)
    told = str(getattr(behind, "strerror", None) or error).strip() or type(error).__name__
    return told.splitlines()[0].rstrip(".")


def _json_reason(error: json.JSONDecodeError) -> str:
    text = error.doc.strip()
    if not text:
        return "it is empty"
    line = f"line {error.lineno}, " if "\n" in text else ""
    return f"it goes wrong at {line}column {error.colno}"
