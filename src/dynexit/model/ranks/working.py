"""What the processes other than rank 0 do: run calls, until rank 0 says farewell or dies."""

import signal
from typing import NoReturn

import torch

from dynexit.errors import DynexitError, reason
from dynexit.model.ranks.group import Ranks
from dynexit.model.ranks.member import Member
from dynexit.model.ranks.messages import receive


@torch.inference_mode()
def work(ranks: Ranks) -> NoReturn:
    """Run what rank 0 announces. Interrupts and SIGTERM are for rank 0, which may have to finish.

    The process ends in here: with rank 0's exit code, or when rank 0 or a call fails.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    member = Member(ranks)
    while True:
        try:
            call = receive(ranks, member.cache, member.device)
            if call.read != member.read_so_far:
                raise RuntimeError("it read other tokens than process 0")
            member.run(call)
        except DynexitError:  # rank 0 has the same and tells of it
            continue
        except Exception as error:
            ranks.watch.leave(1, f"{reason(error)}.")
            raise SystemExit(1) from None
