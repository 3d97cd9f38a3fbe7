"""The `custom_generate` folder that a checkpoint's repository can ship."""

import shutil
from pathlib import Path

from dynexit.errors import DynexitError

FOLDER = "custom_generate"


def export_custom_generate(checkpoint: Path) -> list[Path]:
    """Write `custom_generate/` into a checkpoint's folder; returns the files.

    Raises:
        DynexitError: the folder does not exist, is no checkpoint's, or has other code of that name.
    """
    if not checkpoint.is_dir():
        raise DynexitError(
            f"folder {str(checkpoint)!r} does not exist: give a checkpoint's folder."
        )
    if not (checkpoint / "config.json").is_file():
        raise DynexitError(f"{checkpoint} has no config.json: give a checkpoint's folder.")
    source, target = Path(__file__).parent / FOLDER, checkpoint / FOLDER
    files = sorted(f for f in source.iterdir() if f.is_file())
    for file in files:
        there = target / file.name
        if there.exists() and there.read_bytes() != file.read_bytes():
            raise DynexitError(f"{there} exists and is a different file: remove it first.")
    target.mkdir(exist_ok=True)
    return [Path(shutil.copyfile(file, target / file.name)) for file in files]
