"""The encyclopaedia under its name."""

from __future__ import annotations

from rollout.encyclopaedia.environment import EncyclopaediaConfig, EncyclopaediaEnvironment, question_tasks
from rollout.encyclopaedia.instructions import EXAMPLES, INSTRUCTIONS
from rollout.environment import Environment, TaskSource


class Encyclopaedia:
    """Questions over pages by ReAct's search, lookup and finish: generated, HotpotQA, 2Wiki, MuSiQue, Bamboogle."""

    Config = EncyclopaediaConfig
    instructions = INSTRUCTIONS
    examples = EXAMPLES

    @staticmethod
    def environment(config: EncyclopaediaConfig) -> Environment:
        return EncyclopaediaEnvironment(config)

    @staticmethod
    def tasks(config: EncyclopaediaConfig) -> TaskSource:
        return question_tasks(config)
