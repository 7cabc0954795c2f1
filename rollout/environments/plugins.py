"""The environments by name: the built-in ones and those that other packages add by entry point."""

from __future__ import annotations

from pydantic import BaseModel

from rollout.environment import TaskSource
from rollout.environments.plugin import EnvironmentPlugin
from rollout.episode.config import AgentConfig
from rollout.errors import UserError
from rollout.extensions.registry import Registry
from rollout.tools.sandbox.config import SandboxConfig

ENVIRONMENTS: Registry[EnvironmentPlugin] = Registry(
    "stillhouse.environments",
    "environment",
    EnvironmentPlugin,
    {
        "household": "rollout.environments.household.plugin:HOUSEHOLD",
        "alfworld": "rollout.environments.household.plugin:ALFWORLD",
        "hotpotqa": "rollout.environments.hotpotqa.plugin:HOTPOTQA",
        "math": "rollout.environments.math.plugin:MATH",
        "webshop": "rollout.environments.webshop.plugin:WEBSHOP",
    },
)


def find_plugin(name: str) -> EnvironmentPlugin:
    """The environment of that name. Raises `UserError` if there is none, or if it cannot be imported."""
    plugin = ENVIRONMENTS.load(name)
    if plugin.name != name:
        raise UserError(
            f"the entry point {name} of the group {ENVIRONMENTS.group} names the environment {plugin.name}; give both "
            "the same name"
        )
    return plugin


def plugin_of(config: BaseModel) -> EnvironmentPlugin:
    """The environment that these settings are for. Raises `UserError` as `find_plugin`."""
    return find_plugin(str(getattr(config, "type", "")))


def working_plugins() -> dict[str, EnvironmentPlugin]:
    """The environments that can be imported, by name."""
    return {name: found for name, found in ENVIRONMENTS.load_each().items() if isinstance(found, EnvironmentPlugin)}


def config_model(name: str) -> type[BaseModel]:
    """The class of an environment's settings. Raises `UserError` as `find_plugin`."""
    return find_plugin(name).config_model()


def code_sandbox(config: BaseModel, agent: AgentConfig) -> SandboxConfig | None:
    """Where code that the agent writes runs; None where it writes none.

    An environment whose own actions run code says so by a property ``code_sandbox`` of its settings.
    """
    return agent.sandbox if agent.style == "codeact" else getattr(config, "code_sandbox", None)


def has_own_search(config: BaseModel) -> bool:
    """Whether an environment has a search of its own. It then keeps it, and gets no other."""
    return plugin_of(config).has_search


def make_task_source(config: BaseModel) -> TaskSource:
    """The tasks of these settings."""
    return plugin_of(config).make_tasks(config)
