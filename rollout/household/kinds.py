"""The household under its two names: our own engine, and the original one."""

from __future__ import annotations

from rollout.environment import Environment, TaskSource
from rollout.household.demonstration import household_demonstrations
from rollout.household.environment import HouseholdConfig, HouseholdEnvironment, OfficialGames
from rollout.household.generator import HouseholdTasks
from rollout.household.instructions import INSTRUCTIONS
from rollout.household.original import OriginalConfig, OriginalEnvironment, original_tasks
from rollout.prompts.demonstrate import Played


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
