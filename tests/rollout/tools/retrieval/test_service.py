"""The service: the index is built once, servers open it, and agents search it from many threads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from rollout.concurrency import run_in_thread
from rollout.errors import EpisodeError, UserError
from rollout.tools.retrieval.client import in_process
from rollout.tools.retrieval.config import ClientConfig, RetrievalConfig
from rollout.tools.retrieval.documents import Hit
from rollout.tools.retrieval.service import RetrievalServer, Service, prepare_index

QUICK = ClientConfig(retries=1, retry_wait_s=0.001, timeout_s=60, batch_wait_s=0.2)


@pytest.fixture
def config(tmp_path: Path) -> RetrievalConfig:
    rows = [("Weir", "It holds back water."), ("Mill", "It grinds corn."), ("Pond", "Still water with fish.")]
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"title": title, "text": text}) + "\n" for title, text in rows))
    return RetrievalConfig(corpus=str(path), index_dir=str(tmp_path / "index"), client=QUICK)


def titles(found: Sequence[Sequence[Hit]]) -> list[list[str]]:
    return [[hit.title for hit in hits] for hits in found]


def test_an_index_is_built_once_and_its_documents_are_counted(config: RetrievalConfig) -> None:
    counts: list[int] = []
    prepare_index(config, counts.append)
    prepare_index(config, counts.append)
    assert counts == [3]


def test_a_server_opens_the_index_at_the_first_query(config: RetrievalConfig) -> None:
    """Ray restarts a dead server without calling `start`."""
    started = RetrievalServer(config)
    started.start()
    for server in (started, RetrievalServer(config)):
        assert titles(server.search(["corn", "water", "oak"], 1)) == [["Mill"], ["Weir"], []]


def test_a_server_without_a_corpus_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no corpus at"):
        RetrievalServer(RetrievalConfig(corpus=str(tmp_path / "absent.jsonl"))).start()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dense": {"encoder": "some/encoder"}}, "set kind: dense or leave dense out"),
        ({"kind": "dense", "bm25": {"k1": 2}}, "set kind: bm25 or leave bm25 out"),
        ({"k": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RetrievalConfig.model_validate({"corpus": "x", **settings})


async def test_agents_in_threads_share_one_client_and_receive_their_own_hits(config: RetrievalConfig) -> None:
    server, batches = RetrievalServer(config), []

    async def replica(queries: Sequence[str], k: int) -> Sequence[Sequence[Hit]]:
        batches.append(sorted(queries))
        return await in_process(server)(queries, k)

    search = Service(config, (replica,)).connect()
    found = await asyncio.gather(*(run_in_thread(search, query) for query in ("corn", "fish", "nothing like it")))
    assert found == ["[1] Mill: It grinds corn.", "[1] Pond: Still water with fish.", "No results."]
    assert batches == [["corn", "fish", "nothing like it"]]


async def test_hits_have_the_configured_number_and_length(config: RetrievalConfig) -> None:
    async def replica(queries: Sequence[str], k: int) -> Sequence[Sequence[Hit]]:
        return [[Hit(str(i), f"T{i}", "word " * 100, 1.0) for i in range(k)] for _ in queries]

    settings = config.model_copy(update={"k": 2, "max_characters": 100})
    read = (await run_in_thread(Service(settings, (replica,)).connect(), "x")).splitlines()
    assert [line.split(":")[0] for line in read] == ["[1] T0", "[2] T1"]
    assert all(40 < len(line) < 65 for line in read)


async def test_a_service_that_always_fails_is_an_error_of_the_tool(config: RetrievalConfig) -> None:
    asked = []

    async def replica(queries: Sequence[str], k: int) -> Sequence[Sequence[Hit]]:
        asked.append(queries)
        raise ConnectionError("no route")

    with pytest.raises(EpisodeError) as caught:
        await run_in_thread(Service(config, (replica,)).connect(), "x")
    assert (caught.value.failure.boundary, caught.value.failure.message) == ("tool", "no route")
    assert len(asked) == 2


def test_the_longest_wait_includes_all_attempts_and_the_waits_between_them() -> None:
    config = ClientConfig(timeout_s=10, retries=3, retry_wait_s=0.5, batch_wait_s=0.25)
    assert config.longest_wait_s == 0.25 + 10 + 0.5 + 10 + 1 + 10 + 2 + 10
