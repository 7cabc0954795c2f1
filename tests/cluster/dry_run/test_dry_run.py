"""A dry run lists what a recipe does and needs, on any machine, and the settings that fix what does not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.config.load import load_recipe, recipe_names
from cluster.dry_run.dry_run import DryRun, dry_run
from cluster.dry_run.findings import Finding
from cluster.run.directory import RunDirectory
from cluster.run.plan import make_plan

ROOT = Path(__file__).parents[3]
PAPERS = [name for name in recipe_names() if name.startswith("paper-")]
OUTSIDE = ("there is no built-in model", "run `make real-model`")
"""Findings about models that a user must provide first."""
QWEN_7B = "Qwen/Qwen2.5-7B-Instruct"


def planned(name: str, *overrides: str, gpu_gib: float = 80.0) -> DryRun:
    return dry_run(load_recipe(name, overrides), gpu_gib)


def fatal(plan: DryRun) -> list[Finding]:
    return [finding for finding in plan.findings if finding.fatal]


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_can_run_except_for_missing_models(name: str) -> None:
    plan = planned(name)
    assert plan.rows[-1].title == "report"
    assert all(any(words in finding.text for words in OUTSIDE) for finding in fatal(plan))
    assert plan.can_run == (not fatal(plan))


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_recipe_lists_gpus_memory_and_tokens_and_fits_gpus_of_80_gib(name: str) -> None:
    plan = planned(name)
    assert max(group.gpus for group in plan.groups) >= 2
    assert [use.name for use in plan.memory] == ["teacher", "student", "learner rank"]
    assert all(use.fits and use.device == "GPU" for use in plan.memory)
    assert all(row.tokens for row in plan.rows if row.episodes)


def test_a_student_that_grows_needs_an_engine_for_its_final_size() -> None:
    small, large = (planned("sad", f"learner.widen={factor}").memory for factor in (1, 2))
    assert [use.name for use in large] == [use.name for use in small] == ["teacher", "student", "learner rank"]
    assert [b.shape.hidden / a.shape.hidden for a, b in zip(small, large, strict=True)] == [1, 2, 2]


@pytest.mark.parametrize("size", ["1.5B", "3B", "7B"])
def test_the_other_students_of_agent_distillation_fit_as_well(size: str) -> None:
    assert planned("paper-agent-distillation", f"student.engine.model=Qwen/Qwen2.5-{size}-Instruct").can_run


@pytest.mark.parametrize("student", ["opt-2.7b", "opt-6.7b"])
def test_the_other_students_of_opt_fit_as_well(student: str) -> None:
    assert all(use.fits for use in planned("paper-sad-opt", f"student.engine.model=facebook/{student}").memory)


@pytest.mark.parametrize("student", ["gpt2-medium", "gpt2-large"])
def test_the_other_students_of_gpt2_fit_as_well(student: str) -> None:
    plan = planned("paper-sad-gpt2", f"student.engine.model=openai-community/{student}")
    assert all(use.fits for use in plan.memory)


def test_rows_are_the_steps_of_the_plan_in_its_order(tmp_path: Path) -> None:
    recipe = load_recipe(
        "quickstart",
        [
            "environment={type: math}",
            "rounds=2",
            "collect={teacher_episodes: 6, student_episodes: 4, attempts: 2, train_on: [teacher, student]}",
            "hints={failures_episodes: 5}",
            "first_thought={}",
            "score={roles: [student, teacher]}",
        ],
    )
    steps = make_plan(recipe, RunDirectory(tmp_path)).episode_steps()
    shown = [row for row in dry_run(recipe).rows if row.episodes and not row.title.startswith("learner")]
    assert [(row.title, row.episodes) for row in shown] == [(step.title, len(step.requests)) for step in steps]


def test_token_bounds_follow_from_the_longest_episodes_and_the_learners_budget() -> None:
    tokens = {
        row.title: row.tokens for row in planned("quickstart", "learner.epochs=3", "learner.max_tokens=null").rows
    }
    assert tokens["teacher collects"] == 800 * 2000
    assert tokens["evaluate student"] == 120 * 2000
    assert tokens["learner trains"] == 3 * 800 * 2000
    candidates = "evaluate.acting={type: self_consistent, candidates: 3}"
    tried = {row.title: row.tokens for row in planned("quickstart", candidates).rows}
    assert tried["evaluate student"] == 120 * (2000 + 2 * min(2000, 25 * 64))
    limited = planned("quickstart", "learner.epochs=3", "learner.max_tokens=1000")
    assert {row.title: row.tokens for row in limited.rows}["learner trains"] == 1000


def test_groups_count_the_gpus_of_all_concurrent_workers() -> None:
    plan = planned("paper-agent-distillation")
    assert [(group.title, group.gpus) for group in plan.groups] == [("collect and evaluate", 4), ("train", 4)]
    assert planned("teacher").groups[-1].title == "evaluate"


@pytest.mark.parametrize(
    ("name", "overrides", "gpu_gib", "fix"),
    [
        ("paper-agent-distillation", [], 24, "teacher.engine.tensor_parallel_size=4 teacher.resources.gpus=4"),
        ("paper-agent-distillation", ["student.engine.max_lora_rank=0"], 80, "student.engine.max_lora_rank=64"),
        ("paper-agent-distillation", ["teacher.resources.gpus=1"], 80, "teacher.resources.gpus=2"),
        (
            "paper-agent-distillation",
            [f"student.engine.model={QWEN_7B}", "learner.recompute_activations=false"],
            80,
            "learner.recompute_activations=true",
        ),
        (
            "paper-agent-distillation",
            [f"student.engine.model={QWEN_7B}", "learner.lora=null", "learner.workers=1"],
            80,
            "learner.strategy=fsdp2 learner.workers=2",
        ),
        ("paper-hints-webshop", ["learner.micro_batch_tokens=65536"], 80, "learner.micro_batch_tokens=8192"),
        (
            "paper-hints-alfworld",
            ["teacher.engine.max_model_len=null", "agent.max_tokens=2048"],
            36,
            "teacher.engine.max_model_len=2048",
        ),
        ("quickstart", ["teacher.engine.max_model_len=8192"], 80, "teacher.engine.max_model_len=4096"),
        ("quickstart", ["teacher.resources.gpus=0.5"], 80, "teacher.engine.gpu_memory_utilization=0.5"),
        ("quickstart", ["learner.resources.gpus=0.5"], 80, "learner.resources.gpus=1"),
    ],
)
def test_what_does_not_fit_is_reported_with_settings_that_fix_it(
    name: str, overrides: list[str], gpu_gib: float, fix: str
) -> None:
    before = fatal(planned(name, *overrides, gpu_gib=gpu_gib))
    assert fix in [finding.fix for finding in before]
    after = fatal(planned(name, *overrides, *fix.split(), gpu_gib=gpu_gib))
    assert len(after) == len(before) - 1


def test_a_cache_for_fewer_episodes_than_run_concurrently_is_noted_with_the_settings_that_enlarge_it() -> None:
    def note(*overrides: str) -> str:
        return next(use.note for use in planned("quickstart", *overrides).memory if use.name == "student")

    small = note("student.engine.kv_cache_gib=0.02", "student.engine.max_model_len=1024", "student.concurrency=99")
    sequences = small.split(" = ")[1].split()[0]
    assert f"set student.concurrency={sequences} or a larger student.engine.kv_cache_gib" in small
    assert "run concurrently" not in note(f"student.concurrency={sequences}", "student.engine.max_model_len=1024")


LONG = ("agent.max_tokens=32768", "learner.max_sequence_tokens=32768")


@pytest.mark.parametrize(
    ("overrides", "gpu_gib", "fix"),
    [
        (["learner.recompute_activations=false"], 40, "learner.recompute_activations=true"),
        (
            [],
            6,
            "learner.max_sequence_tokens=16384 learner.micro_batch_tokens=16384 learner.recompute_activations=true "
            "learner.strategy=fsdp2 learner.workers=16",
        ),
    ],
)
def test_sequences_that_one_device_cannot_hold_are_refused_with_the_lever_that_helps(
    overrides: list[str], gpu_gib: float, fix: str
) -> None:
    before = fatal(planned("paper-agent-distillation", *LONG, *overrides, gpu_gib=gpu_gib))
    (finding,) = [f for f in before if "rank" in f.text]
    assert "most of it for the 32,768 tokens of one pass" in finding.text
    assert ("longer episodes have to be truncated" in finding.text) == ("max_sequence_tokens" in fix)
    assert finding.fix == fix
    after = fatal(planned("paper-agent-distillation", *LONG, *overrides, *fix.split(), gpu_gib=gpu_gib))
    assert not any("rank" in f.text for f in after)


def test_a_large_student_needs_its_shard_and_offload_is_the_last_lever_before_truncation() -> None:
    student = ["student.engine.model=Qwen/Qwen2.5-32B-Instruct", "student.engine.tensor_parallel_size=2"]
    full = [*student, "student.resources.gpus=2", "learner.lora=null", "learner.workers=16", "learner.strategy=fsdp2"]
    plan = planned("paper-agent-distillation", *full)
    assert plan.can_run
    (use,) = [use for use in plan.memory if use.name == "learner rank"]
    assert dict(use.parts)["weights"] == 4 * 32_763_876_352 // 16
    assert "loading maps 61.0 GiB of weight files" in use.note
    small = fatal(planned("paper-agent-distillation", *full, gpu_gib=40))
    (finding,) = [f for f in small if "rank" in f.text]
    assert finding.fix.endswith("learner.strategy=fsdp2 learner.workers=16 learner.cpu_offload=true")


@pytest.mark.parametrize("coefficient", [0.02, None])
def test_the_router_loss_that_is_left_out_is_a_note(tmp_path: Path, coefficient: float | None) -> None:
    config = {"model_type": "mixtral", "router_aux_loss_coef": coefficient}
    (tmp_path / "config.json").write_text(json.dumps(config))
    plan = planned("quickstart", f"learner.model={tmp_path}")
    assert any("without the load-balancing loss" in f.text and not f.fatal for f in plan.findings) == bool(coefficient)


def test_without_a_fix_larger_gpus_or_a_smaller_model_are_suggested() -> None:
    plan = planned("paper-agent-distillation", gpu_gib=4)
    assert any("larger GPUs (--gpu-memory-gib) or a smaller model" in finding.text for finding in fatal(plan))


def test_fsdp2_is_suggested_for_gpt2_as_for_any_other_model() -> None:
    assert not any(
        "fsdp2" in finding.text
        for finding in planned("paper-sad-gpt2", "learner.strategy=fsdp2", "learner.workers=2").findings
    )
    small = planned("paper-sad-gpt2", "student.engine.model=openai-community/gpt2-xl", gpu_gib=24)
    assert any("fsdp2" in finding.fix for finding in small.findings)


def test_missing_data_is_listed_and_not_fatal_but_a_wrong_split_is(tmp_path: Path) -> None:
    empty = f"environment={{type: household, source: official, data_dir: {tmp_path}}}"
    plan = planned("quickstart", empty)
    assert plan.can_run
    assert all(entry.found is None and "alfworld-download" in entry.missing for entry in plan.data)
    (wrong,) = fatal(planned("quickstart", "collect.split=trian"))
    assert wrong.text == ("collect.split: household has no split trian; choose one of train, valid_seen, valid_unseen.")


def test_fewer_tasks_than_requested_are_a_note(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"problem": "1+1", "answer": "2"}\n', encoding="utf-8")
    environment = f"environment={{type: math, source: math, data_dir: {tmp_path}}}"
    plan = planned("quickstart", environment, "evaluate=null")
    assert [(entry.wanted, entry.found) for entry in plan.data] == [(800, 1)]
    assert any("requests 800 tasks of math train, but only 1 exist" in finding.text for finding in plan.findings)
    assert plan.can_run


def test_a_model_of_unknown_shape_is_a_note_that_says_how_to_fix_it() -> None:
    plan = planned("quickstart", "student.engine.model=org/unheard-of")
    assert plan.can_run
    assert not plan.all_estimated
    assert any("name the folder of a downloaded copy" in finding.text for finding in plan.findings)


def test_known_models_with_different_vocabularies_are_refused() -> None:
    models = ["teacher.engine.model=Qwen/Qwen2.5-7B", "student.engine.model=meta-llama/Llama-3.2-1B-Instruct"]
    (finding,) = fatal(planned("quickstart", *models))
    assert "have different vocabularies" in finding.text
    other = [*models, "learner.teacher_tokenizer=Qwen/Qwen2.5-7B", "learner.terms=[{stream: act, divergence: uld}]"]
    assert planned("quickstart", *other).can_run


def test_a_model_folder_whose_prompts_cannot_be_built_is_reported(toy_model: str, tmp_path: Path) -> None:
    folder = tmp_path / "without-tokenizer"
    folder.mkdir()
    (folder / "config.json").write_text((Path(toy_model) / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
    (finding,) = fatal(planned("quickstart", f"teacher.engine.model={folder}"))
    assert finding.text.startswith("teacher: no tokenizer.json can be loaded from")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["quickstart", "--dry-run"], 0, "This recipe fits, on no GPU."),
        (["paper-hints-alfworld", "--dry-run"], 0, "on 3 GPUs at the same time"),
        (["paper-hints-alfworld", "--dry-run", "--gpu-memory-gib", "24"], 1, "tensor_parallel_size=2"),
        (["quickstart", "--gpu-memory-gib", "24"], 2, "add --dry-run"),
        (["quikstart", "--dry-run"], 2, "did you mean quickstart?"),
    ],
)
def test_the_command_prints_the_plan_exits_with_1_if_it_cannot_run_and_writes_nothing(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["run", *arguments])
    printed = capsys.readouterr()
    assert end.value.code == code
    assert words in printed.out + printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_loads_no_torch_no_ray_and_no_vllm() -> None:
    code = (
        "import sys; from cluster.dry_run.dry_run import dry_run; from cluster.config.load import load_recipe\n"
        "dry_run(load_recipe('quickstart')); print({'torch', 'ray', 'vllm', 'deepspeed'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


EXACT = ("learner.terms.0.signal=exact", "learner.terms.1.signal=exact", "learner.terms.2.signal=exact")


def test_reverse_kl_and_jsd_on_the_top_k_are_noted_with_the_exact_form() -> None:
    """beta 0 is the forward KL, whose gradient is nearly exact."""
    notes = [finding.text for finding in planned("on-policy").findings if "another objective" in finding.text]
    assert len(notes) == 3
    assert all("signal: exact" in note and "0.79 for jsd" in note for note in notes)
    for overrides in (["learner.terms.2.beta=0"], [EXACT[2], "learner.teacher={}"]):
        texts = [finding.text for finding in planned("on-policy", *overrides).findings]
        assert sum("another objective" in text for text in texts) == 2
    assert not any("another objective" in finding.text for finding in planned("sad").findings)


def test_the_exact_teacher_counts_in_the_learners_memory() -> None:
    plan = planned("on-policy", *EXACT, "learner.teacher={}")
    (use,) = [use for use in plan.memory if use.name == "learner rank"]
    (teacher,) = [use for use in plan.memory if use.name.startswith("teacher")]
    assert dict(use.parts)["frozen teacher"] == 2 * teacher.shape.parameters
    assert plan.can_run
