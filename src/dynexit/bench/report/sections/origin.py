"""A report's head: when, how, with which versions and on what its records were made."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dynexit.bench.report.markdown import bullets, code
from dynexit.bench.report.study import Evidence

PLACE = ("processor", "device", "cores", "threads", "dtype", "runtime", "system")
VERSIONS = ("dynexit", "torch", "transformers", "python", "llama-cpp-python", "built with")
COMMANDS = 8  # shown; a continued run and a second file add theirs
UNKNOWN = "not recorded"  # by an older dynexit


def origin(evidence: Evidence) -> str:
    """A list of what the records say of themselves."""
    found = [one.environment for one in evidence.generations]
    return bullets(
        [
            f"Date: {_dates(distinct(one.get('date') for one in found)) or UNKNOWN}",
            f"Command: {_commands(distinct(one.get('command') for one in found)) or UNKNOWN}",
            f"Versions: {', '.join(_values(found, VERSIONS)) or UNKNOWN}",
            f"Commit: {alternatives(one.get('commit') for one in found) or UNKNOWN}",
            f"Machine: {', '.join(_values(found, PLACE)) or UNKNOWN}",
        ]
    )


def distinct(values: Iterable[object]) -> list[str]:
    """As text, in their order; without None."""
    return list(dict.fromkeys(str(value) for value in values if value is not None))


def alternatives(values: Iterable[object]) -> str:
    """Such as "`2` or `4`"; empty without any."""
    return " or ".join(map(code, distinct(values)))


def _values(found: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Iterator[str]:
    """Such as "threads `2`", of what any record says."""
    for name in names:
        if told := alternatives(one.get(name) for one in found):
            yield f"{name} {told}"


def _dates(moments: Sequence[str]) -> str:
    """The first and the last day; moments are in UTC, as ISO 8601 writes them."""
    days = sorted({moment[:10] for moment in moments})
    return " to ".join(map(code, dict.fromkeys((days[0], days[-1])))) if days else ""


def _commands(commands: Sequence[str]) -> str:
    more = f" and {len(commands) - COMMANDS} more" if len(commands) > COMMANDS else ""
    return ", ".join(map(code, commands[:COMMANDS])) + more
