"""Fingerprints of checkpoints' contents, which tell apart two that used the same folder."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

PIECES, PIECE = 64, 4096  # read of a file of weights, however large it is


def fingerprint(folders: Iterable[Path]) -> str:
    """16 hex digits of configuration and tokenizer, and of sizes and samples of the weights."""
    found = hashlib.sha256()
    for folder in folders:
        for pattern in ("config.json", "tokenizer.json", "model*.safetensors"):
            for file in sorted(folder.glob(pattern)):
                found.update(f"{file.name} {file.stat().st_size}".encode())
                _sample(file, found)
    return found.hexdigest()[:16]


def weights_fingerprint(model: Path) -> str:
    """16 hex digits of sizes and samples of the weights in a folder or a GGUF file, whatever their
    files are called.
    """
    files = sorted(model.glob("*.safetensors")) if model.is_dir() else [model]
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.stat().st_size}".encode())
        _sample(file, found)
    return found.hexdigest()[:16]


def checkpoint_fingerprint(model: Path) -> str:
    """As `weights_fingerprint`, and of the configuration beside the weights."""
    found = hashlib.sha256(weights_fingerprint(model).encode())
    if model.is_dir():
        found.update((model / "config.json").read_bytes())
    return found.hexdigest()[:16]


def _sample(file: Path, found: "hashlib._Hash") -> None:
    """The whole of a small file, pieces of a large one."""
    size = file.stat().st_size
    step = max(size // PIECES, PIECE)
    with file.open("rb") as opened:
        for start in range(0, size, step):
            opened.seek(start)
            found.update(opened.read(PIECE))
