"""What an agent is told about the household world before it acts."""

from __future__ import annotations

from collections.abc import Mapping

_SHORT = "Interact with a household to solve a task."

_FULL = f"""{_SHORT}
In each turn write a thought and one action, each on a line of its own:
Thought: what you know and what to do next
Action: one of the actions below
The actions, with the names and numbers that you were shown in place of the brackets:
look
inventory
go to (receptacle)
open (receptacle)
close (receptacle)
take (object) from (receptacle)
move (object) to (receptacle)
examine (something)
use (object)
heat (object) with (receptacle)
clean (object) with (receptacle)
cool (object) with (receptacle)
slice (object) with (object)
An action that is not possible is answered with "Nothing happens."."""

INSTRUCTIONS: Mapping[str, str] = {"short": _SHORT, "full": _FULL}
"""The system message by the name of its variant."""

EXAMPLES: tuple[str, ...] = (
    """You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a countertop 1, and a fridge 1.
Your task is to: put a mug in cabinet.
Thought: I need a mug. I look on the countertop first.
Action: go to countertop 1
You arrive at countertop 1. On the countertop 1, you see a mug 2, and a spoon 1.
Thought: There is a mug. I take it.
Action: take mug 2 from countertop 1
You pick up the mug 2 from the countertop 1.
Thought: Now I bring it to the cabinet.
Action: go to cabinet 1
You arrive at cabinet 1. The cabinet 1 is closed.
Thought: It is closed, so I open it.
Action: open cabinet 1
You open the cabinet 1. The cabinet 1 is open. In it, you see nothing.
Thought: I put the mug into it.
Action: move mug 2 to cabinet 1
You move the mug 2 to the cabinet 1.""",
)
"""Worked episodes that may be shown before the task."""
