"""What an agent is told about the encyclopaedia before it acts."""

from __future__ import annotations

from collections.abc import Mapping

_SHORT = "Answer a question by reading in an encyclopaedia."

_FULL = f"""{_SHORT}
In each turn write a thought and one action, each on a line of its own:
Thought: what you know and what to read next
Action: one of the actions below
The actions:
search[title] opens the page of that title and shows its first sentences, or names similar titles if there is none
lookup[words] shows the next sentence of the open page that holds these words
finish[answer] answers the question and ends the task
The answer is short: a name, a number, a few words, or yes or no."""

INSTRUCTIONS: Mapping[str, str] = {"short": _SHORT, "full": _FULL}
"""The system message by the name of its variant."""

EXAMPLE_TASKS = (20, 1)
"""The numbers of the generated training tasks that the examples are of."""

EXAMPLES: tuple[str, ...] = (
    (
        "Interact with Wikipedia using search[], lookup[], and finish[].\n"
        "Question: Who was married to the founder of the company Jerery Works?\n"
        "Your task is to: answer the question.\n"
        "Thought: I want the spouse of the founder of Jerery Works. I need the founder of Jerery Works. I "
        "search Jerery Works.\n"
        "Action: search[Jerery Works]\n"
        "Jerery Works is a company that makes pianos. A fire once stopped Jerery Works.. Jerery Works has "
        "its head office in the town of South Trekulm. Jerery Works hires in autumn. Jerery Works opened in "
        "1570.\n"
        "Thought: I want the spouse of the founder of Jerery Works. I need the founder of Jerery Works. It "
        "is not shown. I look up set up.\n"
        "Action: lookup[set up]\n"
        "(Result 1 / 1) Jerery Works was set up by Gevis Felivo..\n"
        "Thought: I want the spouse of the founder of Jerery Works. The founder of Jerery Works is Gevis "
        "Felivo. I need the spouse of Gevis Felivo. I search Gevis Felivo.\n"
        "Action: search[Gevis Felivo]\n"
        "Gevis Felivo was a botanist. Gevis Felivo was born in 1513. Gevis Felivo liked to walk at night.. "
        "Gevis Felivo was married to Jorrey Zurrald. Gevis Felivo was taught by Hazey Rurery.\n"
        "Thought: I want the spouse of the founder of Jerery Works. The founder of Jerery Works is Gevis "
        "Felivo. The spouse of Gevis Felivo is Jorrey Zurrald. I finish.\n"
        "Action: finish[Jorrey Zurrald]"
    ),
    (
        "Interact with Wikipedia using search[], lookup[], and finish[].\n"
        "Question: Who was born later, Pothin Girrast or Quunel Berolt?\n"
        "Your task is to: answer the question.\n"
        "Thought: I want the greater birth year of Pothin Girrast and Quunel Berolt. I need the birth year "
        "of Pothin Girrast. I search Pothin Girrast.\n"
        "Action: search[Pothin Girrast]\n"
        "Pothin Girrast was a clockmaker. Pothin Girrast was born in 1860. Pothin Girrast was taught by "
        "Trannel Berolt. Pothin Girrast was married to Krurrel Grekond. Pothin Girrast kept a long diary..\n"
        "Thought: I want the greater birth year of Pothin Girrast and Quunel Berolt. The birth year of "
        "Pothin Girrast is 1860. I need the birth year of Quunel Berolt. I search Quunel Berolt.\n"
        "Action: search[Quunel Berolt]\n"
        "Quunel Berolt was a surgeon. Quunel Berolt was born in 1979. Few letters of Quunel Berolt are left. "
        "Quunel Berolt was taught by Waza Pokivo. Quunel Berolt grew up in the town of Castle Trekulm..\n"
        "Thought: I want the greater birth year of Pothin Girrast and Quunel Berolt. The birth year of "
        "Pothin Girrast is 1860. The birth year of Quunel Berolt is 1979. The greater is of Quunel Berolt. I "
        "finish.\n"
        "Action: finish[Quunel Berolt]"
    ),
)
"""Worked episodes that may be shown before the task."""
