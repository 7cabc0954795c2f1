"""Other packages add environments, engines, tools, divergences and models; one that is broken breaks only itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributions import install, python

POND = '''
from typing import Literal
from pydantic import BaseModel, ConfigDict
from rollout.environments.plugin import EnvironmentPlugin
class PondConfig(BaseModel):
    """Fish in a pond."""
    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["pond"] = "pond"
    tokenizer: str = "-"
    depth_m: float = 1.0
    async def start(self):
        return "a pond's engine"
def environment(config):
    return "a pond"
def tasks(config):
    return "fish"
POND = EnvironmentPlugin(
    name="pond", description="A pond with fish.", config="ponds:PondConfig", environment="ponds:environment",
    tasks="ponds:tasks", instructions="ponds:nothing", expert_policy="no_such_module:Expert",
)
'''
ENVIRONMENTS, ENGINES, TOOLS = "stillhouse.environments", "stillhouse.engines", "stillhouse.tools"
CLI = ("-m", "cluster.cli")
LOAD = """
import sys
from cluster.config.load import load_recipe
from rollout.errors import UserError
try:
    print(repr(load_recipe("smoke", sys.argv[1:]).environment))
except UserError as error:
    print(error)
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder where a package is installed that cannot be imported, and one that can."""
    points = {
        ENVIRONMENTS: {"swamp": "swamps:SWAMP"},
        ENGINES: {"mill": "swamps:Mill"},
        "stillhouse.tools": {"net": "swamps:NET"},
    }
    install(tmp_path, "swamps", points, swamps="import surely_not_there")
    install(tmp_path, "ponds", {ENVIRONMENTS: {"pond": "ponds:POND"}}, ponds=POND)
    return tmp_path


def test_another_package_adds_an_environment_and_an_engine(tmp_path: Path) -> None:
    install(
        tmp_path, "ponds", {ENVIRONMENTS: {"pond": "ponds:POND"}, ENGINES: {"pond": "ponds:PondConfig"}}, ponds=POND
    )
    code = """
import asyncio
from rollout.engines.config import ENGINES
from rollout.environments.plugins import config_model, make_task_source
from rollout.factory import make_engine, make_environment
config = config_model("pond")()
print(make_environment(config), make_task_source(config), asyncio.run(make_engine(ENGINES.load("pond")())))
"""
    done = python(tmp_path, "-c", code)
    assert done.stdout.strip() == "a pond fish a pond's engine", done.stderr


def test_a_recipe_is_checked_against_the_environment_that_it_names(broken: Path) -> None:
    pond = "environment={type: pond, depth_m: 3}"
    assert python(broken, "-c", LOAD, pond).stdout.strip() == "PondConfig(type='pond', tokenizer='-', depth_m=3.0)"
    wrong = python(broken, "-c", LOAD, "environment={type: pond, dept_m: 3}").stdout
    assert wrong.strip() == "recipe smoke: environment.dept_m: there is no such setting; did you mean depth_m?"
    unknown = python(broken, "-c", LOAD, "environment.type=pund").stdout
    assert 'environment.type: there is no "pund"; did you mean pond? Choose one of alfworld, ' in unknown


@pytest.mark.parametrize("override", ["environment={type: swamp}", "teacher.engine={type: mill}"])
def test_a_recipe_that_names_a_broken_package_is_told_what_is_broken(broken: Path, override: str) -> None:
    told = python(broken, "-c", LOAD, override).stdout.strip()
    assert "cannot be imported: ModuleNotFoundError: No module named 'surely_not_there'; " in told
    assert told.endswith("fix or uninstall the package swamps")
    assert len(told.splitlines()) == 1


def test_a_recipe_that_names_another_environment_does_not_notice(broken: Path) -> None:
    assert python(broken, "-c", LOAD).stdout.startswith("HouseholdConfig(")


def test_listings_and_the_doctor_show_a_broken_package_with_its_error(broken: Path) -> None:
    error = "cannot be imported: ModuleNotFoundError: No module named 'surely_not_there'"
    for what, name in {"environments": "swamp", "engines": "mill", "tools": "net"}.items():
        listed = python(broken, *CLI, "list", what)
        assert listed.returncode == 0, listed.stderr
        (line,) = [line for line in listed.stdout.splitlines() if line.startswith(f"{name} ")]
        assert error in line
    assert "pond       A pond with fish." in python(broken, *CLI, "list", "environments").stdout
    seen = python(broken, *CLI, "doctor").stdout.splitlines()
    (at,) = [i for i, line in enumerate(seen) if "environment swamp" in line]
    assert seen[at].startswith("note")
    assert error in seen[at]
    assert seen[at + 1].strip() == "-> fix or uninstall the package swamps"
    assert any(line.startswith("ok") and "environment pond" in line for line in seen)


def test_a_part_that_cannot_be_imported_breaks_only_what_needs_it(broken: Path) -> None:
    code = """
from rollout.environments.policies import check_policy, make_policy, policy_names
from rollout.errors import UserError
assert "pond-expert" in policy_names() and "swamp-expert" not in policy_names()
for name in ("expert", "household-expert", "pond-expert", "swamp-expert", "pond-novice"):
    try:
        check_policy(name, "react")
        print(name, "works")
    except UserError as error:
        print(error)
"""
    first, second, pond, swamp, novice = python(broken, "-c", code).stdout.splitlines()
    assert (first, second) == ("expert works", "household-expert works")
    assert pond.startswith("expert_policy of the environment pond (no_such_module:Expert) cannot be imported: ")
    assert swamp.startswith("the environment swamp (swamps:SWAMP) cannot be imported: ")
    assert novice.startswith("there is no policy 'pond-novice'; choose one of expert, ")


def test_two_of_one_name_are_refused_where_the_name_is_used(tmp_path: Path) -> None:
    install(tmp_path, "ponds", {ENVIRONMENTS: {"household": "ponds:POND"}}, ponds=POND)
    told = python(tmp_path, "-c", LOAD).stdout.strip()
    assert told == "Stillhouse and the package ponds provide the environment 'household'; uninstall one of them"
    assert python(tmp_path, "-c", LOAD, "environment={type: math}").stdout.startswith("MathConfig(")


@pytest.mark.parametrize(
    ("point", "told"),
    [
        (
            "ponds:PondConfig",
            "the environment lake (ponds:PondConfig) is not an instance of EnvironmentPlugin but",
        ),
        ("ponds:POND", "the entry point lake of the group stillhouse.environments provides the environment pond; give"),
        ("ponds:LAKE", "the environment lake (ponds:LAKE) cannot be imported: AttributeError: module 'ponds' has no"),
    ],
)
def test_an_entry_point_that_leads_elsewhere_is_told(tmp_path: Path, point: str, told: str) -> None:
    install(tmp_path, "ponds", {ENVIRONMENTS: {"lake": point}}, ponds=POND)
    assert python(tmp_path, "-c", LOAD, "environment={type: lake}").stdout.startswith(told)


def test_a_model_comes_with_a_package_that_is_not_imported(tmp_path: Path) -> None:
    model = tmp_path / "swamps" / "models" / "tiny"
    model.mkdir(parents=True)
    (tmp_path / "swamps" / "__init__.py").write_text("import surely_not_there")
    code = """
from rollout.errors import UserError
from rollout.models import model_folder
for name in ("swamps:models/tiny", "swamps:models/large", "lakes:models/tiny"):
    try:
        print(model_folder(name))
    except UserError as error:
        print(error)
"""
    found, absent, package = python(tmp_path, "-c", code).stdout.splitlines()
    assert Path(found) == model
    assert "the package swamps has no such folder" in absent
    assert "the package lakes is not installed" in package


def test_the_recipe_and_the_command_line_import_no_environment_and_nothing_heavy() -> None:
    code = """
import sys
import {module}
print(*sys.modules)
"""
    heavy = {"torch", "ray", "transformers", "vllm", "numpy", "pyarrow", "rich", "openai", "asyncio"}
    for module in ("cluster.config.recipe", "cluster.cli"):
        loaded = set(python(Path(__file__).parent, "-c", code.format(module=module)).stdout.split())
        assert module in loaded
        own = {name for name in loaded if name.startswith(("rollout.environments.", "rollout.engines."))}
        environments = {f"rollout.environments.{name}" for name in ("plugin", "plugins", "hosts", "hosts.config")}
        assert own <= {*environments, "rollout.engines.config"}
        assert heavy & {name.partition(".")[0] for name in loaded} == set()


def test_listing_environments_imports_none_of_their_code() -> None:
    code = """
import sys
from cluster.commands.listing import lines
print(len(list(lines("environments"))))
print(*[name for name in sys.modules if name.startswith("rollout.environments.")])
"""
    count, loaded = python(Path(__file__).parent, "-c", code).stdout.splitlines()
    assert int(count) >= 5
    inner = [name for name in loaded.split() if name.count(".") == 3 and name != "rollout.environments.hosts.config"]
    kinds = {name.rpartition(".")[2] for name in inner}
    assert kinds == {"plugin"}
