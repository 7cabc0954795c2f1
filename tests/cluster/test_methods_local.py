"""The parts that methods are made of, in whole runs in this process: scores, hints, first thoughts, depth, mixtures."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.config.recipe import Recipe
from cluster.driver import run
from cluster.run.directory import open_run
from cluster.run.progress import Screen
from rollout.errors import UserError
from rollout.hints.bank import Hint, HintBank, read_bank, write_bank
from rollout.prompts.cot import first_thought
from rollout.trajectory import Author, Kind, Trajectory
from rollout.trajectory.store import TrajectoryStore
from rollout.trajectory.turns import completed_turns

MakeRecipe = Callable[..., Recipe]
SPANS = [{"stream": stream, "divergence": "reverse_kl"} for stream in ("reason", "act", "format")]
ON_POLICY: dict[str, Any] = {
    "collect": {"teacher_episodes": 0, "student_episodes": 4, "train_on": ["student"]},
    "score": {"top_k": 4},
    "evaluate": None,
}


@pytest.fixture
def go(tmp_path: Path) -> Callable[[Recipe], list[dict[str, Any]]]:
    """Runs a recipe in ``tmp_path``; gives the lines of its metrics."""

    def play(recipe: Recipe) -> list[dict[str, Any]]:
        with open_run(tmp_path, recipe) as directory:
            with (tmp_path / "screen.txt").open("w") as file:
                run(recipe, directory, address="local", screen=Screen(file))
            return directory.read_metrics()

    return play


def episodes(folder: Path, *parts: str) -> list[Trajectory]:
    return list(TrajectoryStore(folder.joinpath(*parts), read_only=True).read())


def collected(folder: Path, role: str, round: int = 0) -> list[Trajectory]:
    return episodes(folder, "trajectories", role, f"round={round:03d}")


def learner(model: str, **settings: Any) -> dict[str, Any]:
    return {"model": model, "epochs": 1, "batch_episodes": 4, "keep": "all", "resources": {"cpus": 1}, **settings}


def a_model(folder: str) -> dict[str, Any]:
    """A teacher that has a distribution."""
    return {"engine": {"type": "transformers", "model": folder}, "concurrency": 8, "resources": {"cpus": 0.5}}


def trained(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in metrics if row["kind"] == "trained"]


def test_what_the_student_did_is_scored_once_by_the_teacher_and_then_trained_on(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    metrics = go(toy_recipe(**ON_POLICY, teacher=a_model(toy_model), learner=learner(toy_model, terms=SPANS)))
    played, scored = collected(tmp_path, "student"), collected(tmp_path, "student-scored")
    assert {t.key for t in scored} == {t.key for t in played}
    for before, after in zip(*(sorted(found, key=lambda t: t.key) for found in (played, scored)), strict=True):
        assert after.token_ids == before.token_ids
        assert after.outcome == before.outcome
        written = [segment for segment in after.segments if segment.author is Author.MODEL]
        assert all(s.teacher is not None and len(s.teacher.token_ids[0]) == 4 for s in written)
    assert [row["sequences"] for row in trained(metrics)] == [4]


def test_a_run_that_was_scored_starts_nothing_when_it_is_started_again(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    recipe = toy_recipe(**ON_POLICY, teacher=a_model(toy_model), learner=learner(toy_model, terms=SPANS))
    go(recipe)
    go(recipe)
    assert "engine starts" not in (tmp_path / "screen.txt").read_text()


def test_a_teacher_that_reads_hints_scores_otherwise_and_the_student_never_sees_them(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    found = {}
    write_bank(bank(), tmp_path / "given.parquet")
    hints = {"bank": str(tmp_path / "given.parquet"), "k": 2, "teacher": False}
    for name, more in {"plain": {}, "privileged": {"hints": hints, "score": {"top_k": 4, "hints": True}}}.items():
        folder, settings = tmp_path / name, {**ON_POLICY, **more}
        recipe = toy_recipe(**settings, teacher=a_model(toy_model), learner=learner(toy_model, terms=SPANS))
        with open_run(folder, recipe) as directory:
            run(recipe, directory, address="local", screen=Screen(io.StringIO()))
        found[name] = sorted(collected(folder, "student-scored"), key=lambda t: t.key)
    for plain, privileged in zip(found["plain"], found["privileged"], strict=True):
        assert privileged.token_ids == plain.token_ids
        assert not [s for s in privileged.segments if s.kind is Kind.HINT]
        acts = [[s.teacher for s in t.segments if s.kind is Kind.ACT] for t in (plain, privileged)]
        assert acts[0] != acts[1]


def bank() -> HintBank:
    types = "pick_and_place_simple look_at_obj_in_light pick_clean_then_place_in_recep pick_heat_then_place_in_recep "
    types += "pick_cool_then_place_in_recep pick_two_obj_and_place"
    return HintBank(
        tuple(
            Hint(category=name, text=text)
            for name in types.split()
            for text in ("Look first.", "Open the {container}.")
        )
    )


def test_hints_are_made_of_failures_shown_to_who_is_to_get_them_and_dropped_for_the_student(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    recipe = toy_recipe(
        teacher={"engine": toy_recipe().student.engine.model_dump(), "concurrency": 8, "resources": {"cpus": 0.5}},
        hints={"failures_episodes": 8, "k": 1, "agents": ["student_before"]},
        learner=learner(toy_model, drop=["hint", "example"]),
    )
    metrics = go(recipe)
    made = next(row for row in metrics if row["kind"] == "hints")
    texts = {hint.text for hint in read_bank(tmp_path / "hints.parquet").hints}
    assert made["episodes"] == sum(not t.outcome.success for t in collected(tmp_path, "failures"))
    assert made["bank"] >= len(texts) > 0
    shown = {role: hints_in(collected(tmp_path, role)) for role in ("failures", "teacher", "student")}
    assert shown["failures"] == shown["student"] == set()
    assert shown["teacher"]
    assert {text.removeprefix("Hint: ").strip() for text in shown["teacher"]} <= texts
    assert hints_in(episodes(tmp_path, "evaluation", "student_before"))
    assert not hints_in(episodes(tmp_path, "evaluation", "student"))


def hints_in(trajectories: list[Trajectory]) -> set[str]:
    return {s.text for t in trajectories for s in t.segments if s.kind is Kind.HINT}


def test_a_share_of_the_tasks_gets_hints_always_the_same_ones(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    write_bank(bank(), tmp_path / "bank.parquet")
    hints, advised = {"bank": str(tmp_path / "bank.parquet"), "k": 1, "share": 0.5}, []
    for name in ("one", "other"):
        recipe = toy_recipe(hints=hints, collect={"teacher_episodes": 24}, learner=None, evaluate=None)
        with open_run(tmp_path / name, recipe) as directory:
            run(recipe, directory, address="local", screen=Screen(io.StringIO()))
        advised.append({t.identity.task for t in collected(tmp_path / name, "teacher") if hints_in([t])})
    assert advised[0] == advised[1]
    assert 6 <= len(advised[0]) <= 18


def test_more_hints_than_there_are_is_said_before_anything_is_played(
    toy_recipe: MakeRecipe, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, go: Callable[..., Any]
) -> None:
    given = tmp_path_factory.mktemp("bank") / "given.parquet"
    with pytest.raises(UserError, match=r"given.parquet does not exist; give the file of a bank"):
        go(toy_recipe(hints={"bank": str(given)}))
    write_bank(bank(), given)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    with pytest.raises(UserError, match=r"hints\.k is 30, but .*given.parquet has 12 hints; set hints.k to at most 12"):
        go(toy_recipe(hints={"bank": str(given), "k": 30}))
    assert not (tmp_path / "trajectories").exists()
    assert "engine starts" not in (tmp_path / "screen.txt").read_text()


def test_the_first_step_of_the_teachers_chain_of_thought_begins_its_episode(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    recipe = toy_recipe(
        environment={"type": "math", "source": "generated"},
        agent={"max_steps": 2, "sampling": {"max_tokens": 24}},
        teacher=a_model(toy_model),
        student=None,
        collect={"teacher_episodes": 6, "teacher_sampling": {"temperature": 1.0}},
        first_thought={"sampling": {"temperature": 1.0}},
        learner=learner(toy_model),
        evaluate=None,
    )
    go(recipe)
    thought = {t.identity.task: t for t in collected(tmp_path, "first_thought")}
    assert {t.policy.prompt_style for t in thought.values()} == {"cot"}
    assert {t.counts.steps for t in thought.values()} == {1}
    for made in collected(tmp_path, "teacher"):
        expected = first_thought(completed_turns(thought[made.identity.task])[0].thought)
        prefixes = [(s.author, s.turn, s.text) for s in made.segments if s.kind is Kind.PREFIX]
        assert prefixes == ([(Author.TEACHER, 1, f"Thought: {expected}")] if expected else [])
    assert any(s.kind is Kind.PREFIX for made in collected(tmp_path, "teacher") for s in made.segments)


def test_a_students_episodes_grow_longer_with_every_round(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    depth = {"student_depth": {"first_steps": 2, "more_steps": 3}}
    collect = {"teacher_episodes": 2, "student_episodes": 3, **depth}
    go(toy_recipe(rounds=2, collect=collect, learner=learner(toy_model), evaluate=None))
    longest = [max(t.counts.steps for t in collected(tmp_path, "student", round)) for round in (0, 1)]
    assert longest == [2, 5]


def test_training_takes_whose_episodes_it_is_told_of_how_many_rounds_and_of_other_runs(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    both = {"teacher_episodes": 3, "student_episodes": 2, "train_on": ["teacher", "student"], "max_age_rounds": 1}
    metrics = go(toy_recipe(rounds=2, collect=both, learner=learner(toy_model), evaluate=None))
    assert [row["sequences"] for row in trained(metrics)] == [5, 5]
    recipe = toy_recipe(
        collect={"teacher_episodes": 0, "also": [str(tmp_path / "trajectories/teacher/round=000")]},
        learner=learner(toy_model),
        evaluate=None,
    )
    with open_run(tmp_path / "other", recipe) as directory:
        run(recipe, directory, address="local", screen=Screen(io.StringIO()))
        assert [row["sequences"] for row in trained(directory.read_metrics())] == [3]


def test_episodes_that_are_not_fit_to_train_on_are_left_out_and_counted_by_reason(
    toy_recipe: MakeRecipe, toy_model: str, tmp_path: Path, go: Callable[..., Any]
) -> None:
    collect = {"teacher_episodes": 8, "keep": {"success": True, "max_invalid_actions": 0}}
    metrics = go(toy_recipe(collect=collect, learner=learner(toy_model), evaluate=None))
    played = collected(tmp_path, "teacher")
    fit = [t for t in played if t.outcome.success and t.counts.invalid_actions == 0]
    assert trained(metrics)[0]["sequences"] == len(fit)
    assert trained(metrics)[0]["dropped"] == {"invalid actions": len(played) - len(fit)} != {"invalid actions": 0}


KL = [{"stream": "act", "divergence": "forward_kl"}]


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"collect": {"teacher_episodes": 1, "train_on": ["student"]}}, "collect.train_on names the student"),
        ({"collect": {"teacher_episodes": 1}, "score": {}}, "score.roles names the student, who collects nothing"),
        ({"hints": {}}, "hints have nothing to come from; set hints.failures_episodes"),
        ({"score": {"hints": True}}, "score.hints needs hints; add a hints section"),
        (
            {"first_thought": {}, "environment": {"type": "math"}},
            "first_thought needs a teacher with a model to think; an engine of type scripted has none",
        ),
        (
            {"first_thought": {}, "teacher": "model"},
            "first_thought needs tasks with an answer to think of, and household has none",
        ),
        ({"first_thought": {}, "agent": {"style": "act"}}, "set agent.style to react or codeact in place of act"),
        ({"learner": {"terms": KL}}, "an engine of type scripted gives none; use cross_entropy"),
        ({"learner": {"terms": KL}, "teacher": "model"}, "set collect.teacher_sampling.top_logprobs to 16"),
        (
            {"learner": {"terms": KL}, "teacher": "model", "collect": {"student_episodes": 1, "train_on": ["student"]}},
            "add score: {roles: [student]}",
        ),
        (
            {
                "learner": {"terms": [{**KL[0], "stream": "all"}]},
                "teacher": "model",
                "collect": {"teacher_episodes": 1, "teacher_sampling": {"top_logprobs": 4}},
            },
            "on the stream all, which it does not write; add score: {roles: [teacher]}",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_one_sentence_each(
    toy_recipe: MakeRecipe, toy_model: str, sections: dict[str, Any], sentence: str
) -> None:
    if sections.get("teacher") == "model":
        sections = {**sections, "teacher": a_model(toy_model)}
    if "learner" in sections:
        sections = {**sections, "learner": learner(toy_model, **sections["learner"])}
    if "collect" in sections:
        sections = {**sections, "collect": {"teacher_episodes": 0, **sections["collect"]}}
    with pytest.raises(ValidationError) as caught:
        toy_recipe(**sections)
    assert sentence in str(caught.value)
