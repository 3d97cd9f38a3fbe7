"""Which run a record comes from: date, command, commit. None of it affects a text or its timing."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]  # of a checkout; of an installed package nothing
PATIENCE = 10.0  # seconds for git


def provenance() -> dict[str, Any]:
    """Of a run that begins now; `commit` is None where the package lies in no checkout."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(sys.argv),
        "commit": commit_of(ROOT),
        "transformers": version("transformers"),
    }


def command_line(arguments: Sequence[str]) -> str:
    """Arguments as a shell takes them, the program by its own name."""
    name = Path(arguments[0]).name if arguments else ""
    program = "dynexit" if name in ("", "__main__.py") else name
    return shlex.join([program, *arguments[1:]]).encode(errors="replace").decode()


def commit_of(root: Path) -> str | None:
    """The commit of this checkout, with "-dirty" where its files differ from it."""
    if not (root / ".git").exists():  # a folder further up may be of another project
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        told = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None
