"""Run the parts in turn, each in a process of its own that is ended at its deadline."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from threading import Thread
from time import monotonic
from typing import IO, Any, NoReturn

from gpu.results import Results

# Seconds of the usual time, in the order of their turns; of another, as large a share.
SHARES = {"tests": 120, "passes": 50, "methods": 150, "training": 30, "figures": 10}
LEAST, GRACE = 5.0, 5.0  # seconds: no part is begun with less; from being asked to end to the end
AFTER = ("figures",)  # of what the others have left


class StoppedError(Exception):
    """Somebody wants all of it to end."""


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ["DYNEXIT_CACHE"] = str(given.out / "cache")
    rmtree(given.out / "cache", ignore_errors=True)  # costs are part of what is to be found
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    file = given.out / "results.json"
    file.unlink(missing_ok=True)
    results = Results(file)
    results.put(sys.argv[1:], "arguments")
    results.put(given.rehearse, "rehearsal")
    names, ends = [*given.parts, *AFTER], monotonic() + given.seconds
    with (given.out / "log.txt").open("w") as log:
        try:
            for index, name in enumerate(names):
                left = ends - monotonic()
                share = SHARES[name] / sum(SHARES[one] for one in names[index:])
                seconds = left if name == names[-1] else left * share
                told = run(name, given, seconds, log)
                keep(file, told, name)
        except StoppedError:
            keep(file, {"state": "stopped"}, name)
            sys.exit(f"stopped in part {name}; {file} has what was found")
    states = Results(file).values["parts"]
    sys.exit(any(states[name]["state"] != "done" for name in names))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results")
    parser.add_argument("--parts", type=known, default=[n for n in SHARES if n not in AFTER])
    parser.add_argument("--seconds", type=float, default=360.0, help="for all of it")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes, on the CPU")
    given = parser.parse_args()
    given.out = given.out.absolute()
    return given


def known(names: str) -> list[str]:
    """Parts, in the order given."""
    asked = names.split(",")
    if wrong := [name for name in asked if name not in SHARES or name in AFTER]:
        raise argparse.ArgumentTypeError(f"there is no part {wrong[0]!r}")
    return asked


def keep(file: Path, told: dict[str, Any], name: str) -> None:
    """What became of a part, beside what it has written itself."""
    results = Results(file)
    for key, value in told.items():
        results.put(value, "parts", name, key)


def run(name: str, given: argparse.Namespace, seconds: float, log: IO[str]) -> dict[str, Any]:
    """One part: its end, and how long it took."""
    began = monotonic()
    if seconds < LEAST:
        return {"state": "no time left"}
    command = [sys.executable, "-m", "gpu.part", name, str(given.out), str(began + seconds)]
    command += ["--rehearse"] if given.rehearse else []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, errors="replace", **pipes)
    copying = Thread(target=copy, args=(process.stdout, log), daemon=True)
    copying.start()
    try:
        code = process.wait(seconds)
        state = "done" if code == 0 else "failed" if code > 0 else f"ended by signal {-code}"
    except subprocess.TimeoutExpired:
        state = "out of time"
    finally:
        end(process)
        copying.join(GRACE)
    sys.stdout.write(f"{name}: {state} after {monotonic() - began:.1f} s\n")
    return {"state": state, "seconds": monotonic() - began}


def copy(source: IO[str], log: IO[str]) -> None:
    """Lines as they come, to whoever watches and to the log."""
    for line in source:
        sys.stdout.write(line)
        log.write(line)
        log.flush()


def end(process: "subprocess.Popen[str]") -> None:
    """Ask it to end, and see that it does."""
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop(number: int, frame: object) -> NoReturn:
    del number, frame
    raise StoppedError


if __name__ == "__main__":
    main()
