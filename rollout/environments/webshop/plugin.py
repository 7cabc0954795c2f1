"""Plug-in of the WebShop environment."""

from __future__ import annotations

from rollout.environments.plugin import EnvironmentPlugin

_HERE = "rollout.environments.webshop"

WEBSHOP = EnvironmentPlugin(
    name="webshop",
    description="Shopping by WebShop's pages, search and reward, in generated catalogs or WebShop's own.",
    config=f"{_HERE}.environment:WebShopConfig",
    environment=f"{_HERE}.environment:WebShopEnvironment",
    tasks=f"{_HERE}.environment:webshop_tasks",
    instructions=f"{_HERE}.instructions:INSTRUCTIONS",
    examples=f"{_HERE}.demonstrations:webshop_demonstrations",
    tools=f"{_HERE}.demonstrations:TOOLS",
    has_search=True,
    expert_policy=f"{_HERE}.expert_policy:WebShopExpert",
    random_policy=f"{_HERE}.random_policy:WebShopRandomPolicy",
    state_keeper=f"{_HERE}.demonstrations:StateKeeper",
    code_writer="rollout.prompts.codeact:as_code",
    hint_rules=f"{_HERE}.hint_rules:RULES",
    vocabulary=f"{_HERE}.vocabulary:VOCABULARY",
    models=("builtin:webshop-teacher", "builtin:webshop-base-student"),
)
