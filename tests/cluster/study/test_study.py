"""Studies: order and recipes of their runs, resuming a stopped study, and the rendered results."""

from __future__ import annotations

import io
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.cli import main
from cluster.config.recipe import Recipe
from cluster.run.directory import RunDirectory
from cluster.run.progress import Screen
from cluster.study.config import load_study
from cluster.study.runs import make_jobs
from cluster.study.study import run_study
from rollout.errors import UserError
from tests.forked import FORKS

MakeRecipe = Callable[..., Recipe]
Write = Callable[..., Path]


@pytest.fixture
def write(toy_recipe: MakeRecipe, tmp_path: Path) -> Write:
    """Writes a small study of the toy recipe: the teacher solves every task, the student acts at random.

    Keyword arguments override its settings.
    """
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(yaml.safe_dump(toy_recipe().model_dump(mode="json")))

    def make(**settings: Any) -> Path:
        study: dict[str, Any] = {
            "name": "toy",
            "paper": {"title": "Toys", "arxiv": "2505.00001"},
            "recipe": str(recipe),
            "seeds": 2,
            "episodes": 3,
            "overrides": ["collect.student_episodes=0", "collect.teacher_episodes=4"],
            "shared": {"shown": {}},
            "arms": {
                "expert": {"agent": "teacher", "overrides": ["learner=null"]},
                "trained": {"trains_on": ["shown"]},
            },
            "comparisons": [{"a": "expert", "b": "trained", "aim_points": 50}],
            "order": ["trained", "expert"],
            "paper_figures": [
                {"arm": "trained", "setting": "toys", "success_percent": 12.5, "steps": 3, "source": "Table 1"}
            ],
        }
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({**study, **settings}, sort_keys=False))
        return file

    return make


class Screens:
    """Creates screens that record their output and can interrupt a study as Ctrl-C does."""

    def __init__(self, stop_at: str = "") -> None:
        self.file = io.StringIO()
        self.stop_at = stop_at

    def __call__(self) -> Screen:
        if self.stop_at and self.stop_at in self.file.getvalue():
            raise KeyboardInterrupt
        return Screen(self.file)

    @property
    def started(self) -> list[str]:
        """Titles of the runs that were started, in order."""
        return [line.split(": ")[1].split(" (")[0] for line in self.file.getvalue().splitlines() if " runs)" in line]


def run_file(file: Path, *overrides: str, screens: Screens | None = None, max_parallel: int = 1) -> dict[str, Any]:
    study, out = load_study(str(file), overrides), file.parent / "out"
    return run_study(study, out, address="local", max_parallel=max_parallel, make_screen=screens or Screens())


def written_files(folder: Path) -> dict[str, int]:
    """Files written by the runs, with the time of their last change."""
    kept = [*folder.glob("**/*.parquet"), *folder.glob("**/*.safetensors"), *folder.glob("**/report.json")]
    return {str(path): path.stat().st_mtime_ns for path in kept}


def test_a_study_runs_all_arms_seed_by_seed_and_compares_them_with_the_paper(write: Write, tmp_path: Path) -> None:
    screens = Screens()
    found = run_file(write(), screens=screens)
    assert screens.started == [f"seed {seed}, {name}" for seed in (0, 1) for name in ("shown", "expert", "trained")]
    household = {arm: figures["household"] for arm, figures in found["arms"].items()}
    assert (household["expert"]["success"], household["trained"]["success"]) == (1.0, 0.0)
    assert {(figures["n"], figures["seeds"]) for figures in household.values()} == {(6, 2)}
    assert household["expert"]["output_tokens"] > 0 < household["expert"]["prompt_tokens"]
    assert found["training"]["expert"]["train_tokens"] == 0 < found["training"]["trained"]["train_tokens"]
    assert found["training"]["trained"]["optimizer_steps"] == 1
    assert [row["verdict"] for row in found["order"]] == ["shown"]
    success = next(row for row in found["comparisons"] if row["metric"] == "success")
    assert (success["difference"], success["n_pairs"], success["aim_reached"]) == (1.0, 6, True)
    assert found["runs"] == {"finished": 6, "planned": 6}
    out = tmp_path / "out"
    assert json.loads((out / "study.json").read_text()) == found
    table = (out / "study.md").read_text()
    assert "The paper's ordering (trained &lt; expert, by success) is shown here." in table.splitlines()[2]
    (row,) = [line for line in table.splitlines() if line.startswith("| trained ")]
    assert "| 2 × 3 | 0 | 0.0 % [0.0, 39.0] |" in row
    assert row.endswith("| 12.5 %, 3 steps [1] |")
    assert "| [1] | Table 1 |" in table


@pytest.fixture(params=["forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How processes of runs start. Those of a study are spawned, and each imports torch; forks have the same start."""
    context = multiprocessing.get_context("spawn") if request.param == "spawn" else FORKS
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)
    return str(request.param)


@pytest.mark.usefixtures("start_method")
def test_parallel_runs_have_the_same_results_and_start_after_their_dependencies(write: Write) -> None:
    arms = {
        "expert": {"agent": "teacher", "overrides": ["learner=null"]},
        "trained": {"trains_on": ["shown"]},
        "lost": {"overrides": ["learner.model=/no/such/folder"]},
    }
    screens = Screens()
    found = run_file(write(arms=arms, seeds=1), screens=screens, max_parallel=3)
    output = screens.file.getvalue()
    assert output.index("seed 0, shown (") < output.index("seed 0, trained starts")
    assert output.index("seed 0, expert starts") < output.index("seed 0, shown ("), "it depends on nothing"
    success = {arm: figures["household"]["success"] for arm, figures in found["arms"].items()}
    assert success == {"expert": 1.0, "trained": 0.0}
    assert [(row["arm"], "no/such/folder does not exist" in row["why"]) for row in found["failed"]] == [("lost", True)]


@pytest.mark.usefixtures("start_method")
def test_parallel_runs_end_when_the_study_is_stopped(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_file(write(seeds=1), screens=Screens(stop_at="expert starts"), max_parallel=2)
    assert multiprocessing.active_children() == []


def test_an_arm_trains_on_shared_episodes_and_collects_none_itself(write: Write, tmp_path: Path) -> None:
    run_file(write(), "seeds=1", "only_arms=[trained]")
    run = tmp_path / "out" / "seed=0" / "trained"
    assert not (run / "trajectories").exists()
    trained = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["sequences"] for row in trained if row["kind"] == "trained"] == [4]
    assert [path.name for path in (run / "evaluation").iterdir()] == ["student"]


def test_a_stopped_study_reports_its_finished_runs_and_resumes_without_repeating_any(
    write: Write,
) -> None:
    file = write()
    with pytest.raises(KeyboardInterrupt):
        run_file(file, screens=Screens(stop_at="seed 1, shown (4 of 6 runs)"))
    out = file.parent / "out"
    halfway, before = json.loads((out / "study.json").read_text()), written_files(out)
    assert halfway["runs"] == {"finished": 3, "planned": 6}
    assert {arm: figures["household"]["seeds"] for arm, figures in halfway["arms"].items()} == {
        "expert": 1,
        "trained": 1,
    }
    screens = Screens()
    found = run_file(file, screens=screens)
    assert screens.started == [f"seed 1, {name}" for name in ("shown", "expert", "trained")]
    assert before.items() <= written_files(out).items()
    assert found["arms"]["trained"]["household"]["seeds"] == 2
    again = Screens()
    assert run_file(file, screens=again)["arms"] == found["arms"]
    assert again.started == []


def test_seeds_can_be_added_and_the_revisions_of_all_runs_are_listed(write: Write) -> None:
    here = run_file(write(), "seeds=1", "only_arms=[expert]")["git_revisions"]
    RunDirectory(write().parent / "out" / "seed=0" / "expert").add_to_manifest({"git_revision": "earlier"})
    screens = Screens()
    found = run_file(write(), "seeds=2", "only_arms=[expert]", screens=screens)
    assert found["arms"]["expert"]["household"]["n"] == 6
    assert screens.started == ["seed 1, expert"]
    assert found["git_revisions"] == sorted(["earlier", *here])


def test_a_study_that_does_not_show_the_papers_ordering_states_it_first(write: Write, tmp_path: Path) -> None:
    untrained = {"agent": "student_before", "overrides": ["learner=null"]}
    arms = {"expert": {"agent": "teacher", "overrides": ["learner=null"]}, "trained": untrained}
    found = run_file(write(shared={}, arms=arms, order=["expert", "trained"]), "seeds=1")
    assert found["order"][0]["verdict"] == "not shown"
    lines = (tmp_path / "out" / "study.md").read_text().splitlines()
    assert lines[2] == "**The paper's ordering (expert &lt; trained, by success) is not shown here.**"
    assert "not shown: trained is behind by -" in lines[4]


def test_a_failed_arm_is_reported_and_the_others_continue(write: Write, tmp_path: Path) -> None:
    arms = {
        "broken": {"agent": "teacher", "overrides": ["learner=null", "teacher.engine.policy=nobody"]},
        "unfed": {"trains_on": ["empty"]},
        "expert": {"agent": "teacher", "overrides": ["learner=null"]},
    }
    shared = {"empty": {"overrides": ["teacher.engine.policy=nobody"]}}
    found = run_file(
        write(shared=shared, arms=arms, comparisons=[], order=["broken", "expert"], paper_figures=[]), "seeds=1"
    )
    assert [(row["arm"], row["seed"]) for row in found["failed"]] == [("empty", 0), ("broken", 0), ("unfed", 0)]
    why = {row["arm"]: row["why"] for row in found["failed"]}
    assert "no policy 'nobody'" in why["broken"]
    assert why["unfed"].startswith("it depends on empty, which failed: ")
    assert found["arms"]["expert"]["household"]["success"] == 1.0
    assert "broken < expert: not shown: there are no episodes of broken" in found["order"][0]["sentence"]
    assert "Runs that failed" in (tmp_path / "out" / "study.md").read_text()


def test_the_command_prints_the_verdict_and_exits_with_1_if_a_run_failed(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"broken": {"agent": "teacher", "overrides": ["learner=null", "teacher.engine.policy=nobody"]}}
    file = write(shared={}, arms=arms, comparisons=[], order=[], paper_figures=[])
    with pytest.raises(SystemExit) as end:
        main(["study", str(file), "seeds=1", "--out", str(tmp_path / "out"), "--address", "local"])
    shown = capsys.readouterr()
    assert end.value.code == 1
    assert "The study does not define an ordering" in shown.out
    assert shown.out.splitlines()[-1] == str(tmp_path / "out" / "study.md")
    assert "broken, seed 0 failed: " in shown.err


def test_each_variant_runs_all_arms_and_variants_share_runs_that_do_not_differ(write: Write) -> None:
    shared = {"shown": {}, "each": {"per_variant": True}}
    arms = {"trained": {"trains_on": ["shown", "each"]}}
    variants = {"small": ["agent.max_steps=5"], "large": ["learner.widen=2"]}
    study = load_study(
        str(write(shared=shared, arms=arms, variants=variants, comparisons=[], order=[])), ["all.agent.max_steps=7"]
    )
    jobs = make_jobs(study, Path("/out"))
    assert [str(job.folder.relative_to("/out")) for job in jobs[:5]] == [
        "seed=0/shown",
        "small/seed=0/each",
        "small/seed=0/trained",
        "large/seed=0/each",
        "large/seed=0/trained",
    ]
    small, large = jobs[2].recipe, jobs[4].recipe
    assert (learner(small)["widen"], learner(large)["widen"]) == (1, 2)
    assert large.collect.also == tuple(
        f"/out/{place}/trajectories/teacher/round=000" for place in ("seed=0/shown", "large/seed=0/each")
    )
    assert [job.recipe.agent.max_steps for job in jobs[:3]] == [7, 7, 7]


def learner(recipe: Recipe) -> dict[str, Any]:
    assert recipe.learner is not None
    return recipe.learner.model_dump()


def test_a_seed_sets_tasks_and_training_and_arms_train_on_scored_episodes_if_there_are_any(write: Write) -> None:
    model = ["teacher.engine={type: transformers, model: m}", "score={roles: [teacher]}"]
    study = load_study(str(write(shared={"shown": {"overrides": model}})), ["seed=3"])
    last = {job.name: job for job in make_jobs(study, Path("/out")) if job.seed == 4}
    assert {job.recipe.seed for job in last.values()} == {4}
    assert learner(last["trained"].recipe)["seed"] == 4
    assert last["trained"].recipe.collect.also == ("/out/seed=4/shown/trajectories/teacher-scored/round=000",)
    assert last["expert"].recipe.learner is None
    assert last["shown"].recipe.learner is last["shown"].recipe.evaluate is None


def test_an_arm_uses_the_hints_of_a_shared_run(write: Write) -> None:
    shared = {"bank": {"overrides": ["hints={failures_episodes: 5}"]}}
    arms = {"hinted": {"agent": "teacher", "hints_from": "bank", "overrides": ["learner=null", "hints.k=1"]}}
    study = load_study(str(write(shared=shared, arms=arms, comparisons=[], order=[], paper_figures=[])))
    hints = make_jobs(study, Path("/out"))[1].recipe.hints
    assert hints is not None
    assert (hints.bank, hints.failures_episodes, hints.k) == ("/out/seed=0/bank/hints.parquet", 0, 1)


def test_a_setting_for_all_arms_is_ignored_by_runs_without_its_section(write: Write) -> None:
    study = load_study(str(write()), ["all.learner.epochs=2"])
    recipes = {job.name: job.recipe for job in make_jobs(study, Path("/out"))}
    assert recipes["expert"].learner is None
    assert learner(recipes["trained"])["epochs"] == 2


def test_selected_arms_run_with_only_their_dependencies(write: Write) -> None:
    study = load_study(str(write()), ["only_arms=[expert]", "seeds=1"])
    assert [job.name for job in make_jobs(study, Path("/out"))] == ["expert"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"order": ["trained", "exprt"]}, "order names exprt, which is not a known arm; did you mean expert"),
        ({"order": ["trained"]}, "order has one arm; name at least two arms, each once"),
        ({"order": ["trained", "expert", "trained"]}, "order names trained twice"),
        ({"comparisons": [{"a": "expert", "b": "expert"}]}, "comparisons compares expert with itself"),
        ({"comparisons": [{"a": "expert", "b": "nobody"}]}, "comparisons names nobody, which is not a known arm"),
        (
            {"paper_figures": [{"arm": "x", "setting": "s", "source": "t"}]},
            "paper_figures names x, which is not a known arm",
        ),
        ({"arms": {"a": {"trains_on": ["shwn"]}}}, "arms.a.trains_on names shwn, which is not a known shared run"),
        ({"shared": {"expert": {}}}, "expert is both an arm and a shared run"),
        (
            {"shared": {"shown": {"hints_from": "shown"}}},
            "shared.shown.hints_from names shown, which is not a known shared run",
        ),
        (
            {"shared": {"shown": {"per_variant": True}, "b": {"hints_from": "shown"}}},
            "shared.b uses the hints of shown",
        ),
        ({"arms": {}}, "arms: dictionary should have at least 1 item"),
        ({"arms": {"a/b": {}}}, "arms"),
        ({"seeds": 0}, "seeds: must be greater than or equal to 1 (got 0)"),
        ({"paper": {"title": "Toys", "arxiv": "toys"}}, "paper.arxiv"),
        ({"seed_count": 3}, "seed_count: there is no such setting; did you mean seed?"),
        ({"arms": {"a": {"variants": ["x"]}}}, "arms.a.variants names x, which is not a known variant"),
        ({"only_variants": ["small"]}, "only_variants names small, which is not a known variant"),
    ],
)
def test_a_wrong_study_is_one_sentence(write: Write, settings: dict[str, Any], sentence: str) -> None:
    without_references: dict[str, Any] = (
        {} if "arms" not in settings else {"comparisons": [], "order": [], "paper_figures": []}
    )
    with pytest.raises(UserError) as caught:
        load_study(str(write(**{**without_references, **settings})))
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["arms=[]"], "'arms=[]' is not a setting of a study; write seeds=VALUE"),
        (["seeds"], "'seeds' is no setting; write seeds=VALUE"),
        (["all.lerner.epochs=2"], "study toy, shown: lerner: there is no such setting; did you mean learner?"),
        (["all.agent.max_steps=0"], "study toy: recipe of shown: agent.max_steps: must be greater than or equal to 1"),
    ],
)
def test_a_wrong_override_is_one_sentence_before_anything_starts(
    write: Write, tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        run_file(write(), *overrides)
    assert sentence in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unknown_study_is_refused_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["study", "on-polcy"])
    assert end.value.code == 2
    assert "there is no study on-polcy; did you mean on-policy?" in capsys.readouterr().err


def test_a_folder_can_only_be_resumed_with_the_same_study(write: Write, tmp_path: Path) -> None:
    run_file(write(), "only_arms=[expert]", "seeds=1")
    with pytest.raises(UserError, match=r"belongs to another study \(it differs in episodes\); choose a new --out"):
        run_file(write(), "episodes=5")
    assert load_study(str(tmp_path / "out")).only_arms == ("expert",)
    other = tmp_path / "full"
    other.mkdir()
    (other / "letter.txt").write_text("")
    with pytest.raises(UserError, match=r"has letter.txt but no study.yaml"):
        run_study(load_study(str(write())), other, address="local")
