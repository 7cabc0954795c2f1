"""What an agent is told about maths problems before it acts."""

from __future__ import annotations

from collections.abc import Mapping

_SHORT = "Solve a maths problem."

_FULL = f"""{_SHORT}
In each turn write a thought and one action, each on a line of its own:
Thought: what you know and what to do next
Action: one of the actions below
calculate[expression] gives the value of an expression with numbers, + - * / // % ** and brackets.
python[code] runs one line of Python and shows what it prints; names live on from turn to turn.
finish[answer] gives the answer and ends the episode; only the first answer counts."""

INSTRUCTIONS: Mapping[str, str] = {"short": _SHORT, "full": _FULL}
"""The system message by the name of its variant."""

EXAMPLES: tuple[str, ...] = (
    """Dan has 26 nuts. Dan gives 5 nuts to each of 3 friends. Dan finds 2 more nuts. How many nuts does Dan have now?
Your task is to: answer the question.
Thought: Dan gives 5 nuts to each of 3 friends. Dan has 26.
Action: calculate[26 - 5 * 3]
11
Thought: Dan finds 2 more nuts. Dan has 11.
Action: calculate[11 + 2]
13
Thought: How many nuts does Dan have now? Dan has 13.
Action: finish[13]
The answer is right.""",
    """What is the sum of the squares of all prime numbers from 24 to 283 with last digit 1?
Your task is to: answer the question.
Thought: What is the sum of the squares of all prime numbers from 24 to 283 with last digit 1? I use Python.
Action: python[def prime(n): return n > 1 and all(n % d for d in range(2, n))]
(no output)
Thought: I go on.
Action: python[print(sum(n * n for n in [n for n in range(24, 283 + 1) if prime(n) and n % 10 == 1]))]
448814
Thought: The result is 448814.
Action: finish[448814]
The answer is right.""",
)
"""Worked episodes that may be shown before the task: the expert's, on generated problems."""
