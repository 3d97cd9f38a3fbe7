"""The texts of one request, from the queue to its reply."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from dynexit.decoding.sequence import Decoding
from dynexit.serve.errors import as_api_error, log_if_ours
from dynexit.serve.work import Event, Failed, Finished, Progress, Work


class Ongoing:
    """The texts of one request. Belongs to the event loop that made it."""

    def __init__(
        self, method: str, sequences: list[Decoding], choices: int, request_id: str
    ) -> None:
        self.id, self.method, self.sequences, self.choices = request_id, method, sequences, choices
        self.works: list[Work] = []
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()

    @property
    def prompt_tokens(self) -> int:
        """Tokens of every prompt, counted once for all of its texts."""
        return sum(sequence.prompt_length for sequence in self.sequences[:: self.choices])

    @property
    def cached_tokens(self) -> int:
        """How many of these were read before."""
        return sum(sequence.stats.cached_tokens for sequence in self.sequences[:: self.choices])

    @property
    def tokens(self) -> int:
        """Tokens of all texts so far."""
        return sum(sequence.generated for sequence in self.sequences)

    def deliver(self, index: int) -> Callable[[Event], None]:
        """Where the engine's thread tells of text `index`. It holds no text: no cycle keeps one."""
        loop, events = self._loop, self._events

        def tell(event: Event) -> None:
            with suppress(RuntimeError):  # the event loop has ended, and no client waits
                loop.call_soon_threadsafe(events.put_nowait, (index, event))

        return tell

    async def events(self) -> AsyncIterator[tuple[int, Progress | Finished]]:
        """What happens, until every text has finished.

        Raises:
            ApiError: one of them failed.
        """
        left = len(self.works)
        while left:
            index, event = await self._events.get()
            if isinstance(event, Failed):
                log_if_ours(event.error, self.id)
                raise as_api_error(event.error)
            left -= isinstance(event, Finished)
            yield index, event

    def cancel(self) -> None:
        """Cancel the request: its running works end before the next pass."""
        for work in self.works:
            work.cancelled = True
