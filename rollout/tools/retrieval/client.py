"""The client of a retrieval service. Many agents share one client, which combines their queries into batches.

A backend is any async function from queries to hits: an index in this process (`in_process`), or a call to a server or
an actor. Multiple backends are replicas: batches are sent to them in turn, and a retry goes to the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count

from rollout.concurrency import run_in_thread
from rollout.errors import Boundary, boundary
from rollout.tools.retrieval.config import ClientConfig
from rollout.tools.retrieval.documents import Hit
from rollout.tools.retrieval.index import Retriever

Backend = Callable[[Sequence[str], int], Awaitable[Sequence[Sequence[Hit]]]]
"""(queries, k) -> up to ``k`` hits for each query."""


def in_process(retriever: Retriever) -> Backend:
    """Create a backend that searches in a thread of this process."""
    return partial(run_in_thread, retriever.search)


class RetrievalClient:
    """Sends queries to one or more replicas. Belongs to one event loop."""

    def __init__(self, backends: Sequence[Backend], config: ClientConfig | None = None) -> None:
        if not backends:
            raise ValueError("a retrieval client needs at least one backend")
        self._backends = backends
        self._config = config or ClientConfig()
        self._next_backend = count()
        self._waiting: dict[int, list[tuple[str, asyncio.Future[list[Hit]]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def search(self, query: str, k: int = 5) -> list[Hit]:
        """Return up to ``k`` hits, best first.

        Raises:
            EpisodeError: all attempts failed; its boundary is ``tool``.
        """
        answer: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(k, [])
        waiting.append((query, answer))
        if len(waiting) >= self._config.batch_size:
            self._start(self._send(k, self._waiting.pop(k)))
        elif len(waiting) == 1:
            self._start(self._send_later(k, waiting))
        with boundary(Boundary.TOOL):
            return await answer

    async def close(self) -> None:
        """Wait until all queries are answered."""
        await asyncio.gather(*self._tasks)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_later(self, k: int, batch: list[tuple[str, asyncio.Future[list[Hit]]]]) -> None:
        await asyncio.sleep(self._config.batch_wait_s)
        if self._waiting.get(k) is batch:  # otherwise the batch was full and has been sent
            await self._send(k, self._waiting.pop(k))

    async def _send(self, k: int, batch: Sequence[tuple[str, asyncio.Future[list[Hit]]]]) -> None:
        """Send a batch and set the results or the error of all its queries."""
        try:
            found = await self._attempts([query for query, _ in batch], k)
        except Exception as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), hits in zip(batch, found, strict=True):
            if not answer.done():  # the agent may have stopped waiting
                answer.set_result(list(hits))

    async def _attempts(self, queries: Sequence[str], k: int) -> Sequence[Sequence[Hit]]:
        config, first = self._config, next(self._next_backend)
        wait_s, failure = config.retry_wait_s, Exception()
        for attempt in range(config.retries + 1):
            if attempt:
                await asyncio.sleep(wait_s)
                wait_s *= 2
            # Counted from the batch's first replica, so that other batches cannot send a retry back to a dead one.
            backend = self._backends[(first + attempt) % len(self._backends)]
            try:
                return await _attempt(backend, queries, k, config.timeout_s)
            except Exception as error:  # any failure may succeed in another attempt
                failure = error
        failure.add_note(f"after {config.retries + 1} attempts")
        raise failure


async def _attempt(backend: Backend, queries: Sequence[str], k: int, timeout_s: float) -> Sequence[Sequence[Hit]]:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            found = await backend(queries, k)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimeoutError(f"the retrieval service did not answer within {timeout_s:g} s") from error
    if len(found) != len(queries):
        raise ValueError(f"the retrieval service returned {len(found)} answers for {len(queries)} queries")
    return found


def hits_text(hits: Sequence[Hit], max_characters: int = 2000) -> str:
    """Format hits for an agent: numbered titles and texts, each truncated to its share of ``max_characters``."""
    if not hits:
        return "No results."
    share = max(1, max_characters // len(hits))
    return "\n".join(f"[{i}] {hit.title}: {_truncate(hit.text, share)}" for i, hit in enumerate(hits, start=1))


def _truncate(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit].rsplit(' ', 1)[0]} ..."
