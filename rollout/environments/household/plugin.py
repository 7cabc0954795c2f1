"""The household under its two names: our own engine, and the original one."""

from __future__ import annotations

from rollout.environment import Environment, TaskSource
from rollout.environments.demonstrate import Played
from rollout.environments.household.alfworld_engine import (
    OriginalConfig,
    OriginalEnvironment,
    original_tasks,
)
from rollout.environments.household.demonstrations import household_demonstrations
from rollout.environments.household.environment import HouseholdConfig, HouseholdEnvironment, OfficialGames
from rollout.environments.household.generator import HouseholdTasks
from rollout.environments.household.instructions import INSTRUCTIONS


class Household:
    """Household tasks by ALFWorld's rules, in generated houses or ALFWorld's own games."""

    Config = HouseholdConfig
    instructions = INSTRUCTIONS
    examples = Played(household_demonstrations)

    @staticmethod
    def environment(config: HouseholdConfig) -> Environment:
        return HouseholdEnvironment(config)

    @staticmethod
    def tasks(config: HouseholdConfig) -> TaskSource:
        if config.source == "official":
            return OfficialGames(config.data_dir, config.task_types)
        return HouseholdTasks(config.size, config.task_types)


class Alfworld:
    """ALFWorld's own games in its original engine (extra ``alfworld``), one child process an environment."""

    Config = OriginalConfig
    instructions = INSTRUCTIONS
    examples = Played(household_demonstrations)

    @staticmethod
    def environment(config: OriginalConfig) -> Environment:
        return OriginalEnvironment(config)

    @staticmethod
    def tasks(config: OriginalConfig) -> TaskSource:
        return original_tasks(config)
