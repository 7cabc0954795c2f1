"""Environments by name: built-in ones and those that other packages add by entry points."""

from __future__ import annotations

from pydantic import BaseModel

from rollout.environment import TaskSource, is_blocking
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
    """Find the plug-in of a name. Raises `UserError` if it does not exist or cannot be imported."""
    plugin = ENVIRONMENTS.load(name)
    if plugin.name != name:
        raise UserError(
            f"the entry point {name} of the group {ENVIRONMENTS.group} provides the environment {plugin.name}; give "
            "both the same name"
        )
    return plugin


def plugin_of(config: BaseModel) -> EnvironmentPlugin:
    """Find the plug-in that a config belongs to. Raises `UserError` like `find_plugin`."""
    return find_plugin(str(getattr(config, "type", "")))


def working_plugins() -> dict[str, EnvironmentPlugin]:
    """Plug-ins that can be imported, by name."""
    return {name: found for name, found in ENVIRONMENTS.load_each().items() if isinstance(found, EnvironmentPlugin)}


def config_model(name: str) -> type[BaseModel]:
    """Load the config class of an environment. Raises `UserError` like `find_plugin`."""
    return find_plugin(name).config_model()


def code_sandbox(config: BaseModel, agent: AgentConfig) -> SandboxConfig | None:
    """Sandbox for code that the agent writes; None if it writes none.

    The config of an environment whose own actions run code has a property ``code_sandbox``.
    """
    return agent.sandbox if agent.style == "codeact" else getattr(config, "code_sandbox", None)


def has_own_search(config: BaseModel) -> bool:
    """Whether an environment has a search of its own; if so, no other search is added."""
    return plugin_of(config).has_search


def needs_host(config: BaseModel) -> bool:
    """Whether workers run an environment in host processes (`rollout.environments.hosts`).

    They do if it comes from another package or declares that it is blocking.
    """
    plugin = plugin_of(config)
    return plugin.name not in ENVIRONMENTS.built_in_names or is_blocking(plugin.load("environment"))


def make_task_source(config: BaseModel) -> TaskSource:
    """Create the task source of a config. Raises `UserError` like `find_plugin`."""
    return plugin_of(config).make_tasks(config)
