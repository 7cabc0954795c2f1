"""Contenders in this process on tiny models: equal losses, and a gate that measures what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest
import torch

from cluster.bench.learner.gate import STOP, Finished, Gate, Record
from cluster.bench.learner.measure import check_losses
from cluster.bench.learner.models import load_model, prepare, scored_episodes, selected_logits
from cluster.bench.learner.registry import CONTENDERS, has_trl
from cluster.bench.learner.workload import QUICK, Workload, token_ids, trained
from rollout.errors import UserError

ONE_ROUND = replace(QUICK, warm_up=2, rounds=1, steps=1, threads=(1,))
needs_trl = pytest.mark.skipif(not has_trl(), reason="TRL is not installed: pip install stillhouse[bench]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("workload")
    prepare(ONE_ROUND, made)
    return made


def record_of(name: str, folder: Path, workload: Workload = ONE_ROUND) -> Record:
    """Run a contender for its warm-up and its rounds."""
    turns: Iterator[int] = chain(repeat(torch.get_num_threads(), workload.rounds), [STOP])
    gate = Gate(workload, lambda _record: next(turns))
    with pytest.raises(Finished):
        CONTENDERS[name].load()(workload, folder, gate)
    return gate.record


def test_our_losses_are_those_of_the_floor(folder: Path) -> None:
    for kind in ("ce", "kl"):
        records = {name: record_of(name, folder) for name in (kind, f"{kind}_floor")}
        check_losses(ONE_ROUND, CONTENDERS, records)
        assert len(records[kind].losses) == 2
        assert records[kind].losses[1] < records[kind].losses[0]


def test_a_contender_with_other_losses_stops_the_benchmark() -> None:
    records = {"kl_floor": Record(losses=[5.0, 4.0]), "kl": Record(losses=[5.0, 4.0001])}
    with pytest.raises(UserError, match=r"kl has the loss 4.00010000 in step 2 and the floor 4.00000000"):
        check_losses(ONE_ROUND, CONTENDERS, records)
    check_losses(ONE_ROUND, CONTENDERS, {**records, "kl": Record(losses=[5.00004, 4.00003])})
    with pytest.raises(UserError, match="nan"):
        check_losses(ONE_ROUND, CONTENDERS, {**records, "kl": Record(losses=[float("nan"), 4.0])})


def test_the_scores_leave_almost_nothing_to_the_tail(folder: Path) -> None:
    """So the divergence over the entries is the one over the vocabulary, with which TRL's trainers are compared."""
    teacher = load_model(ONE_ROUND, folder / "teacher").eval()
    student = load_model(ONE_ROUND, folder / "student").eval()
    for episode in scored_episodes(folder):
        with torch.inference_mode():
            log_p_NV = selected_logits(teacher, episode)[0].log_softmax(dim=1)
            log_q_NV = selected_logits(student, episode)[0].log_softmax(dim=1)
        tops = [segment.teacher for segment in episode.segments if segment.teacher is not None]
        ids = torch.tensor([row for top in tops for row in top.token_ids])
        dense = (log_p_NV.exp() * (log_p_NV - log_q_NV)).sum()
        entries = (log_p_NV.exp() * (log_p_NV - log_q_NV)).gather(1, ids).sum()
        assert max(mass for top in tops for mass in top.tail_mass) < 1e-4
        assert float(entries) == pytest.approx(float(dense), rel=1e-5)


def test_logits_are_selected_before_each_trained_token(folder: Path) -> None:
    student, episode = load_model(ONE_ROUND, folder / "student").eval(), scored_episodes(folder)[0]
    ids, learned = token_ids(episode), trained(episode)
    with torch.inference_mode():
        all_TV = student(input_ids=torch.tensor([ids])).logits[0]
        logits_NV, labels_N = selected_logits(student, episode)
    positions = [place - 1 for place, is_trained in enumerate(learned) if is_trained]
    assert labels_N.tolist() == [ids[place + 1] for place in positions]
    assert torch.allclose(logits_NV, all_TV[positions], atol=1e-5)


def test_a_gate_takes_one_sample_a_round_and_waits_for_each(folder: Path) -> None:
    workload = replace(ONE_ROUND, rounds=3, steps=2)
    record = record_of("ce_floor", folder, workload)
    (threads,) = record.step_s
    assert threads == torch.get_num_threads()
    assert len(record.step_s[threads]) == len(record.step_cpu_s[threads]) == 3
    assert min(record.step_s[threads]) > 0
    assert len(record.losses) == workload.warm_up
    assert record.configuration["precision"] == "float32"


def test_the_scoring_pass_reports_the_mass_of_the_tails(folder: Path) -> None:
    record = record_of("teacher_scoring", folder)
    assert 0.0 <= record.losses[0] < 1e-3
    assert record.configuration["top_k"] == ONE_ROUND.top_k


@needs_trl
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ce", "kl"])
def test_the_losses_of_trl_are_those_of_the_floor_also_when_compacted(kind: str, folder: Path) -> None:
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    peers = [name for name, contender in CONTENDERS.items() if contender.trl and contender.loss == kind]
    records = {name: record_of(name, folder) for name in (f"{kind}_floor", *sorted(peers, key=lambda n: "comp" in n))}
    check_losses(ONE_ROUND, CONTENDERS, records)
    for name in peers:
        configuration = records[name].configuration
        assert ("_use_triton return True" in configuration["patch"]) == name.endswith("compacted")
        assert configuration["gradient_checkpointing"] is False
