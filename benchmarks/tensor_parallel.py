"""A pair of matrices in several processes: DTensor's plan against the same division by hand.

    OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 benchmarks/tensor_parallel.py

Columns of the first, rows of the second, one row of 512 numbers, fp32, by Gloo. Prints what
importing DTensor takes, and medians of 500 passes each, in turn.
"""

import sys
from statistics import median
from time import perf_counter

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

WIDTH, INNER, PASSES, WARM = 512, 1_024, 500, 20


def main():
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    began = perf_counter()
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    imported = perf_counter() - began
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(WIDTH, INNER, bias=False), nn.Linear(INNER, WIDTH, bias=False))
    up, down = (layer.weight.detach().chunk(size, at)[rank] for at, layer in enumerate(whole))
    plan = {"0": ColwiseParallel(), "1": RowwiseParallel()}
    planned = parallelize_module(whole, init_device_mesh("cpu", (size,)), plan)
    given = torch.randn(1, WIDTH)

    def divided(row):
        found = F.linear(F.linear(row, up), down)
        dist.all_reduce(found)
        return found

    seconds = {planned: [], divided: []}
    with torch.inference_mode():
        torch.testing.assert_close(planned(given), divided(given))
        for _ in range(WARM + PASSES):
            for run, taken in seconds.items():
                began = perf_counter()
                run(given).sum().item()  # a plan's result must be waited for
                taken.append(perf_counter() - began)
    if not rank:
        with_plan, by_hand = (1e3 * median(taken[WARM:]) for taken in seconds.values())
        sys.stdout.write(
            f"{size} processes: {with_plan:.2f} ms with DTensor, {by_hand:.2f} ms without; "
            f"importing it took {imported:.1f} s\n"
        )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
