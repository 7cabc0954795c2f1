"""System messages of the household."""

from __future__ import annotations

from rollout.prompts.styles import FORMAT_PLACEHOLDER

_SHORT = "Interact with a household to solve a task."

INSTRUCTIONS = {
    "short": _SHORT,
    "full": f"""{_SHORT}
{FORMAT_PLACEHOLDER}
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
An action that is not possible is answered with "Nothing happens.".""",
}
"""System messages by variant."""
