"""The phases of a run, and which sections of a recipe each of them uses."""

from __future__ import annotations

from collections.abc import Collection

from cluster.config.recipe import Recipe

PHASES = frozenset({"rollout", "train", "evaluate"})
USED_TASKS = {"rollout": "collect", "train": "collect", "evaluate": "evaluate"}
"""The section whose tasks a phase uses; training waits for all episodes of the tasks that are collected."""


def used_sections(recipe: Recipe, phases: Collection[str]) -> set[str]:
    """Those of the sections ``teacher``, ``student`` and ``learner`` that one of the phases uses."""
    used: set[str] = set()
    learner = recipe.learner
    if "rollout" in phases:
        used |= {"teacher", "student"} if recipe.collect.student_episodes else {"teacher"}
    if "evaluate" in phases and recipe.evaluate is not None:
        used |= {agent.partition("_")[0] for agent in recipe.evaluate.agents}
    if "train" in phases and learner is not None:
        starts_from_student = learner.model is None and learner.scratch is None
        used |= {"learner", "student"} if starts_from_student else {"learner"}
    return used
