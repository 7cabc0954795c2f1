"""Single-turn reasoning without tools: all steps of a problem and their results in one text."""

from __future__ import annotations

from rollout.environments.demonstrate import TurnMaker
from rollout.environments.math.calculator import calculate
from rollout.environments.math.expert_policy import NO_MISTAKES, MathExpert


class MathReasoner:
    """Solves one generated problem in one turn (`rollout.scripted_policy.Reasoner`).

    It writes the thoughts of `MathExpert`, each followed by the result of its calculation. For a problem that needs
    Python, it writes that the problem is too long and guesses.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def reason(self, observation: str) -> tuple[str, str]:
        """Return the reasoning and the answer. Raises `ValueError` for a problem that the expert cannot parse."""
        expert, read = TurnMaker(MathExpert(self._seed, NO_MISTAKES)), observation
        steps: list[str] = []
        while True:
            turn = expert.turn(read)
            thought, (name, _, argument) = turn.thought, turn.action.removesuffix("]").partition("[")
            if name == "calculate":
                read = calculate(argument)
                steps += [thought, f"{argument} = {read}"]
            elif name == "finish":
                return "\n\n".join([*steps, thought]), argument
            else:
                return f"{thought.removesuffix(' I use Python.')}\n\nThis is too much to do by hand. I guess.", "1"
