"""The example package of docs/environments.md is what it says: found by its entry point, and true to the interface."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests import distributions
from tests.distributions import ROOT, python

FILE = re.compile(r"^`guessing/(?P<name>[\w.]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TOOL = re.compile(r"^```python\n(?P<text>from rollout\.prompts\.tool import Tool\n.*?)^```$", re.MULTILINE | re.DOTALL)
DIVERGENCE = re.compile(r"^```python\n(?P<text>from torch import Tensor, cat\n.*?)^```$", re.MULTILINE | re.DOTALL)


def install(folder: Path, text: str) -> None:
    """The files of the example in ``folder``, with the entry points that its pyproject.toml names."""
    files = {match["name"]: match["text"] for match in FILE.finditer(text)}
    assert set(files) == {"pyproject.toml", "guessing.py", "guessing_plugin.py"}
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    modules = {name.removesuffix(".py"): source for name, source in files.items()}
    distributions.install(folder, project["name"], project["entry-points"], **modules)


@pytest.fixture
def page() -> str:
    return (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")


def test_the_example_keeps_every_promise(tmp_path: Path, page: str) -> None:
    install(tmp_path, page)
    listed = python(tmp_path, "-m", "cluster.cli", "list", "environments").stdout
    assert "A number to guess, with hints." in listed
    done = python(tmp_path, "-m", "cluster.cli", "check-environment", "guess", "largest=500", "--episodes", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(
        r"guess: all \d+ requirements are met \(2 splits, 10 tasks, 10 episodes, [\d,]+ steps, seed 0\)", done.stdout
    )


SEEDED = 'f"guess/{split}/{seed}/{index}"'


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("sorted(f", "list(f", "admissible_actions is None or sorted, without duplicates: "),
        (
            'Literal["guess"] = "guess"',
            'Literal["number"] = "number"',
            "the field type of config has the name of the environment: ",
        ),
        (
            SEEDED,
            f"hash({SEEDED})",
            "the same arguments return the same tasks: those of 'train' differ",
        ),
    ],
)
def test_the_example_with_a_mistake_is_told_of_it_in_one_line(
    right: str, wrong: str, line: str, tmp_path: Path, page: str
) -> None:
    assert page.count(right) == 1
    install(tmp_path, page.replace(right, wrong))
    done = python(tmp_path, "-m", "cluster.cli", "check-environment", "guess")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1), done.stdout + done.stderr
    assert done.stdout.startswith(line)


def test_the_example_can_be_named_in_a_recipe_and_worded_in_every_style_without_a_state(
    tmp_path: Path, page: str
) -> None:
    install(tmp_path, page)
    code = """
from cluster.config.load import load_recipe
from rollout.episode.episode import AgentConfig
from rollout.factory import make_style
recipe = load_recipe("smoke", ["environment={type: guess, largest: 50}"])
for name in ("react", "act", "codeact"):
    style = make_style(AgentConfig(style=name, examples=1, instructions="full"), recipe.environment)
    print("guess[15]" in str(style.example(style.examples[0])), "{form}" in style.instructions)
"""
    done = python(tmp_path, "-c", code)
    assert done.stdout.split() == ["True", "False"] * 3, done.stderr


def test_the_expert_of_the_example_plays_in_every_style_and_its_rules_write_hints(tmp_path: Path, page: str) -> None:
    install(tmp_path, page)
    code = """
import asyncio
from cluster.config.load import load_recipe
from rollout.environments.hints import hint_rules
from rollout.environments.make_tokenizer import make_tokenizer
from rollout.environments.plugins import make_task_source
from rollout.factory import make_builder, make_engine, make_environment
from pathlib import Path
from tests.rollout.rolling_out import roll_out_all

async def play(policy, style="react"):
    agent = f"agent={{style: {style}, max_tokens: 20000, sampling: {{max_tokens: 200}}}}"
    recipe = load_recipe("smoke", ["environment={type: guess, largest: 50}", agent, f"teacher.engine.policy={policy}"])
    world, engine = recipe.environment, recipe.teacher.engine
    tasks, engine = make_task_source(world).tasks("valid", 3), await make_engine(engine, recipe.agent)
    builder = make_builder(recipe.agent, world, recipe.teacher.engine)
    return await roll_out_all(tasks, lambda: make_environment(world, recipe.agent), engine, builder, recipe.agent)

for policy in ("guess-expert", "expert"):
    for style in ("react", "act"):
        print(sum(episode.outcome.success for episode in asyncio.run(play(policy, style))))
failed = [episode for episode in asyncio.run(play("guess-random")) if not episode.outcome.success]
print({hint.text for episode in failed for hint in hint_rules("guess").write(episode, 3, 120)})
print(make_tokenizer("guess", Path("tokenizer")) > 256)
"""
    done = python(tmp_path, "-c", code)
    assert done.stdout.splitlines() == ["3"] * 4 + ["{'Do not guess a number twice.'}", "True"], done.stderr


def test_the_tool_of_the_page_is_listed_and_called_by_code(tmp_path: Path, page: str) -> None:
    match = TOOL.search(page)
    assert match is not None
    points = {"stillhouse.tools": {"convert": "units_tool:CONVERT"}}
    distributions.install(tmp_path, "units", points, units_tool=match["text"])
    assert "convert" in python(tmp_path, "-m", "cluster.cli", "list", "tools").stdout
    code = """
from rollout.episode.config import AgentConfig
from rollout.environments.plugins import config_model, make_task_source
from rollout.factory import make_environment, make_style
from rollout.tools.sandbox.config import SandboxConfig
from rollout.tools.sandbox.tiers import available_tiers
config = config_model("household")(size="small")
agent = AgentConfig(style="codeact", tools=("convert",), sandbox=SandboxConfig(packages=(), preload=()))
print("converts miles to kilometres" in make_style(agent, config).instructions)
if any(status.works for status in available_tiers()):
    world = make_environment(config, agent)
    world.reset(make_task_source(config).tasks("train", 1)[0])
    print("16.09344" in world.step("print(convert(10))").observation)
    print("You are not carrying anything." in world.step('print(act("inventory"))').observation)
    world.close()
"""
    done = python(tmp_path, "-c", code)
    assert set(done.stdout.split()) == {"True"}, done.stdout + done.stderr
    unknown = python(tmp_path, "-m", "cluster.cli", "run", "smoke", "--dry-run", "agent={style: codeact, tools: [net]}")
    assert "there is no tool 'net' of another package; known here: convert" in unknown.stderr


def test_the_divergence_of_the_page_is_a_term_of_the_loss(tmp_path: Path) -> None:
    match = DIVERGENCE.search((ROOT / "docs" / "methods.md").read_text(encoding="utf-8"))
    assert match is not None
    points = {"stillhouse.divergences": {"total_variation": "variation:total_variation"}}
    distributions.install(tmp_path, "variation", points, variation=match["text"])
    listed = python(tmp_path, "-m", "cluster.cli", "list", "divergences").stdout
    assert "total_variation  TV_n" in listed
    code = """
import numpy as np
import torch
from learner.config import LearnerConfig
from learner.terms import DIVERGENCES
from rollout.errors import UserError

def config(**term):
    terms = [{"stream": "act", "divergence": "total_variation", **term}]
    return LearnerConfig.model_validate({"terms": terms, "epochs": 1, "batch_episodes": 1})

term = config(options={"power": 2.0}).terms[0]
ids, p = torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.25]])
value = DIVERGENCES.load(term.divergence)(torch.zeros(1, 4), ids, p.log(), torch.tensor([0.25]), **term.parameters)
print(round(value.item(), 4))
try:
    config(options={"powr": 2.0}).check_divergences()
except UserError as error:
    print(error)
"""
    done = python(tmp_path, "-c", code)
    assert done.stdout.splitlines() == [
        "0.0625",
        "the divergence total_variation does not take its options: got an unexpected keyword argument 'powr'; "
        "correct them",
    ], done.stderr
