"""The process in which chat templates run: `python -m dynexit.serve.chat_worker FOLDER PARENT`.

A chat template is a program that came with a checkpoint and reads what clients write. It may loop
or write without end, and nothing inside a process can stop that. So it runs here, under limits of
memory and of processor time, which the kernel keeps; `chats.py` starts this process again.

For every conversation a line of JSON comes in, and one goes out.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from dynexit.errors import DynexitError
from dynexit.lifetime import end_with_parent
from dynexit.model.tokenizer import CheckpointTokenizer

MEMORY = 1 << 30  # bytes beyond what a loaded tokenizer holds
MOST = 1 << 20  # tokens of a conversation


def main(folder: str, parent: int) -> None:
    """Answer until nothing more is asked."""
    end_with_parent(parent)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is no answer
    tokenizer = CheckpointTokenizer(Path(folder))
    limit_memory(MEMORY)
    _say(answers, {"ready": True})
    for line in sys.stdin.buffer:
        _say(answers, answer(tokenizer, **json.loads(line)))


def answer(
    tokenizer: CheckpointTokenizer,
    seconds: float,
    template: str,
    messages: list[dict[str, Any]],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Token ids of a conversation, or why there are none."""
    tokenizer.loaded.chat_template = template
    limit_time(seconds)
    try:
        tokens = tokenizer.encode_chat(messages, **options)
    except DynexitError as error:
        return {"refused": str(error)}
    finally:
        limit_time(0)
    if len(tokens) > MOST:
        return {"refused": f"the conversation has {len(tokens)} tokens: shorten it."}
    return {"tokens": tokens}


def limit_time(seconds: float) -> None:
    """End this process once it has computed for so many more seconds; 0 lifts the limit."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_memory(more: int) -> None:
    """Let this process have so many more bytes; no limit where the system tells of no use."""
    try:
        import resource

        status = Path("/proc/self/status").read_text()
    except (ImportError, OSError):
        return
    held = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = (held << 10) + more
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _say(answers: BinaryIO, told: dict[str, Any]) -> None:
    answers.write(json.dumps(told).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
