"""Many agents share one client: it batches queries, retries failures and reports the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rollout.errors import EpisodeError
from rollout.tools.retrieval.client import RetrievalClient, hits_text, in_process
from rollout.tools.retrieval.config import ClientConfig
from rollout.tools.retrieval.documents import Document, Hit
from rollout.tools.retrieval.index import RetrievalIndex

QUICK = ClientConfig(retries=2, retry_wait_s=0.001, timeout_s=5, batch_wait_s=0.02, batch_size=4)


class Service:
    """A backend that echoes queries. Its first calls fail, hang or return too few answers, as given by ``troubles``."""

    def __init__(self, *troubles: str) -> None:
        self.troubles = list(troubles)
        self.batches: list[list[str]] = []

    async def __call__(self, queries: Sequence[str], k: int) -> Sequence[Sequence[Hit]]:
        self.batches.append(list(queries))
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "fail":
            raise ConnectionError("no route")
        if trouble == "hang":
            await asyncio.sleep(60)
        answers = [[Hit(query, query, f"{k}", 1.0)] * k for query in queries]
        return answers[1:] if trouble == "short" else answers


async def test_concurrent_queries_are_batched_and_each_receives_its_own_answer() -> None:
    service = Service()
    client = RetrievalClient([service], QUICK)
    found = await asyncio.gather(*(client.search(f"q{i}", 2) for i in range(6)), client.search("other", 1))
    assert [[hit.id for hit in hits] for hits in found] == [*([f"q{i}"] * 2 for i in range(6)), ["other"]]
    assert sorted(service.batches) == [["other"], ["q0", "q1", "q2", "q3"], ["q4", "q5"]]
    await client.close()


async def test_a_full_batch_is_sent_immediately_and_only_once() -> None:
    service = Service()
    client = RetrievalClient([service], QUICK.model_copy(update={"batch_wait_s": 0.05}))
    await asyncio.gather(*(client.search(f"q{i}", 1) for i in range(4)))
    await client.close()
    assert service.batches == [["q0", "q1", "q2", "q3"]]


async def test_replicas_take_turns_and_a_retry_goes_to_the_next_one() -> None:
    dead, alive = Service("fail", "fail", "fail", "fail"), Service()
    client = RetrievalClient([dead, alive], QUICK)
    for query in ("a", "b"):
        assert [hit.id for hit in await client.search(query, 1)] == [query]
    assert alive.batches == [["a"], ["b"]]


async def test_one_dead_replica_loses_no_answer_of_many_concurrent_queries() -> None:
    dead, alive = Service(*["fail"] * 99), Service()
    client = RetrievalClient([dead, alive], QUICK.model_copy(update={"batch_size": 1, "retries": 1}))
    found = await asyncio.gather(*(client.search(f"q{i}", 1) for i in range(10)))
    assert [[hit.id for hit in hits] for hits in found] == [[f"q{i}"] for i in range(10)]


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        ("fail", "ConnectionError", "no route"),
        ("hang", "TimeoutError", "did not answer within 0.05 s"),
        ("short", "ValueError", "returned 0 answers for 1 queries"),
    ],
)
async def test_after_the_last_attempt_the_failure_belongs_to_the_tool(trouble: str, kind: str, words: str) -> None:
    service = Service(*[trouble] * 3)
    client = RetrievalClient([service], QUICK.model_copy(update={"timeout_s": 0.05}))
    with pytest.raises(EpisodeError, match=words) as caught:
        await client.search("q", 1)
    assert (caught.value.failure.boundary, caught.value.failure.type) == ("tool", kind)
    assert len(service.batches) == 3
    assert [hit.id for hit in await client.search("again", 1)] == ["again"]


async def test_an_agent_that_stops_waiting_does_not_affect_the_others() -> None:
    client = RetrievalClient([Service()], QUICK)
    impatient = asyncio.create_task(client.search("a", 1))
    patient = asyncio.create_task(client.search("b", 1))
    await asyncio.sleep(0)
    impatient.cancel()
    assert [hit.id for hit in await patient] == ["b"]


async def test_an_index_in_this_process_is_a_backend() -> None:
    index = RetrievalIndex.from_documents([Document("0", "Weir", "It holds back water.")])
    assert [
        hit.title for hit in await RetrievalClient([in_process(index)], ClientConfig(timeout_s=120)).search("water")
    ] == ["Weir"]


def test_a_client_without_backends_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one backend"):
        RetrievalClient([])


def test_hits_are_numbered_and_truncated_to_their_share() -> None:
    hits = [Hit("0", "Weir", "It holds\nback water.", 2.0), Hit("1", "Mill", "word " * 50, 1.0)]
    assert hits_text(hits, max_characters=38) == "[1] Weir: It holds back ...\n[2] Mill: word word word ..."
    assert hits_text([]) == "No results."
