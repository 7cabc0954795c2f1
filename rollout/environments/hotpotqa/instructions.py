"""System messages of the HotpotQA environment."""

from __future__ import annotations

from rollout.prompts.styles import FORMAT_PLACEHOLDER

_SHORT = "Answer a question by reading in an encyclopaedia."

INSTRUCTIONS = {
    "short": _SHORT,
    "full": f"""{_SHORT}
The answer is short: a name, a number, a few words, or yes or no.
{FORMAT_PLACEHOLDER}
The actions:
search[title] opens the page of that title and shows its first sentences, or names similar titles if there is none
lookup[words] shows the next sentence of the open page that holds these words
finish[answer] answers the question and ends the task""",
}
"""System messages by variant."""
