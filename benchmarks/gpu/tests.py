"""The tests marked `gpu`, one after the other in this process."""

import os
from collections import Counter
from pathlib import Path

import pytest

from dynexit.bench.provenance import ROOT
from gpu.part import Part

TAIL = 60  # lines of a failure
SKIPPED = "skipped for want of time"


class Watcher:
    """Keeps what became of each test as soon as it is known."""

    def __init__(self, part: Part) -> None:
        self.part, self.counts = part, Counter()
        self.slowest: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.part.put(nodeid, "running")
        if self.part.left < 5:
            pytest.exit(SKIPPED, returncode=1)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        self.counts[report.outcome] += 1
        self.slowest[report.nodeid] = report.duration
        self.part.put(dict(self.counts), "counts")
        if report.outcome == "failed":
            told = report.longreprtext.splitlines()[-TAIL:]
            self.part.put(told, "failures", f"{report.nodeid} ({report.when})")
        elif report.outcome == "skipped":
            self.part.put(str(report.longrepr[-1]), "skipped", report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome == "failed":
            told = report.longreprtext.splitlines()[-TAIL:]
            self.part.put(told, "failures", f"{report.nodeid} (collection)")

    def pytest_sessionfinish(self) -> None:
        ranked = sorted(self.slowest.items(), key=lambda item: -item[1])[:15]
        self.part.put({name: round(seconds, 2) for name, seconds in ranked}, "slowest")
        self.part.put(None, "running")


def files() -> list[str]:
    """Test files with such tests: others may import what is not installed here."""
    every = sorted(Path(ROOT, "tests").rglob("test_*.py"))
    return [str(file) for file in every if "mark.gpu" in file.read_text(encoding="utf-8")]


def run(part: Part) -> None:
    os.chdir(ROOT)
    options = ["-m", "gpu", "-q", "--tb=short", "-p", "no:cacheprovider", "--durations=10"]
    watcher = Watcher(part)
    code = pytest.main([*options, *files()], plugins=[watcher])
    part.put(int(code), "exit_code")
    if code:
        raise SystemExit(int(code))
