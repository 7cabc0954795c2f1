"""What an agent is told about the shop before it acts."""

from __future__ import annotations

from collections.abc import Mapping

_SHORT = "Shop on a website: find and buy what is asked for."

_FULL = f"""{_SHORT}
In each turn write a thought and one action, each on a line of its own:
Thought: what you know and what to do next
Action: one of the actions below
The actions, with your words or with the text of a button in place of the brackets' content:
search[words]
click[button]
Buttons are the ids of products, the values of options, and those of the shop itself, such as click[back to search],
click[next >], click[< prev], click[description], click[features] and click[buy now].
Choose the options that are asked for before you buy: click[buy now] ends the visit."""

INSTRUCTIONS: Mapping[str, str] = {"short": _SHORT, "full": _FULL}
"""The system message by the name of its variant."""

EXAMPLES: tuple[str, ...] = (
    """WebShop
Instruction:\x20
find a bar stool that is made of oak with color: pink, and finish: glossy, and price lower than 230.00 dollars
[button] Search [button_]

Your task is to: find a bar stool that is made of oak with color: pink, and finish: glossy, and \
price lower than 230.00 dollars.
Thought: I need bar stool that is made of oak. I search for it.
Action: search[bar stool made of oak pink glossy]
Instruction:
find a bar stool that is made of oak with color: pink, and finish: glossy, and price lower than 230.00 dollars
[button] Back to Search [button_]
Page 1 (Total results: 50)
[button] Next > [button_]

[button] B5829 [button_]
Cordasen bar stool, space saving and made of oak
$206.22

[button] B6340 [button_]
Lumstara bar stool, made of oak and space saving
$385.86

[button] B6884 [button_]
Peltidex bar stool, space saving and scratch resistant
$54.05

[button] B4693 [button_]
Pelura bar stool, low in weight and easy to assemble
$79.38

[button] B6004 [button_]
Morravik bar stool, made of oak and scratch resistant
$85.63

[button] B5940 [button_]
Ulmesen bar stool, easy to assemble and made of oak
$138.08

[button] B8610 [button_]
Junvolo bar stool, space saving and easy to clean
$140.58

[button] B9218 [button_]
Yarulo bar stool, hand made and made of oak
$189.81

[button] B9634 [button_]
Norravik bar stool, low in weight and hand made
$109.01

[button] B8642 [button_]
Garkara bar stool, hand made and easy to assemble
$191.88

Thought: I need bar stool that is made of oak. B5829 costs $206.22. I open it.
Action: click[B5829]
Instruction:
find a bar stool that is made of oak with color: pink, and finish: glossy, and price lower than 230.00 dollars
[button] Back to Search [button_]
[button] < Prev [button_]
color
  [button] pink [button_]
  [button] teal [button_]
finish
  [button] glossy [button_]
  [button] polished [button_]
Cordasen bar stool, space saving and made of oak
Price: $206.22
Rating: N.A.
[button] Description [button_]
[button] Features [button_]
[button] Reviews [button_]
[button] Buy Now [button_]

Thought: I need color pink. I choose pink.
Action: click[pink]
You have clicked pink.
Instruction:
find a bar stool that is made of oak with color: pink, and finish: glossy, and price lower than 230.00 dollars
[button] Back to Search [button_]
[button] < Prev [button_]
color
  [clicked button] pink [clicked button_]
  [button] teal [button_]
finish
  [button] glossy [button_]
  [button] polished [button_]
Cordasen bar stool, space saving and made of oak
Price: $206.22
Rating: N.A.
[button] Description [button_]
[button] Features [button_]
[button] Reviews [button_]
[button] Buy Now [button_]

Thought: I need finish glossy. I choose glossy.
Action: click[glossy]
You have clicked glossy.
You have clicked pink.
Instruction:
find a bar stool that is made of oak with color: pink, and finish: glossy, and price lower than 230.00 dollars
[button] Back to Search [button_]
[button] < Prev [button_]
color
  [clicked button] pink [clicked button_]
  [button] teal [button_]
finish
  [clicked button] glossy [clicked button_]
  [button] polished [button_]
Cordasen bar stool, space saving and made of oak
Price: $206.22
Rating: N.A.
[button] Description [button_]
[button] Features [button_]
[button] Reviews [button_]
[button] Buy Now [button_]

Thought: I need bar stool that is made of oak. All is chosen. I buy it.
Action: click[buy now]""",
)
"""Worked episodes that may be shown before the task: the expert's, on generated goals, in the ``text_rich`` mode."""
