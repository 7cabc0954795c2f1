"""System messages of WebShop."""

from __future__ import annotations

from rollout.prompts.styles import FORMAT_PLACEHOLDER

_SHORT = "Shop on a website: find and buy what is asked for."

INSTRUCTIONS = {
    "short": _SHORT,
    "full": f"""{_SHORT}
Choose the options that are asked for before you buy: buying ends the visit.
{FORMAT_PLACEHOLDER}
The actions, with your words or with the text of a button in place of the brackets' content:
search[words]
click[button]
Buttons are the ids of products, the values of options, and those of the shop itself, such as click[back to search],
click[next >], click[< prev], click[description], click[features] and click[buy now].""",
}
"""System messages by variant."""
