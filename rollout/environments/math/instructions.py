"""System messages of the math environment."""

from __future__ import annotations

from rollout.prompts.styles import FORMAT_PLACEHOLDER

_SHORT = "Solve a maths problem."

INSTRUCTIONS = {
    "short": _SHORT,
    "full": f"""{_SHORT}
{FORMAT_PLACEHOLDER}
calculate[expression] gives the value of an expression with numbers, + - * / // % ** and brackets.
python[code] runs one line of Python and shows what it prints; names live on from turn to turn.
finish[answer] gives the answer and ends the episode; only the first answer counts.""",
}
"""System messages by variant."""
