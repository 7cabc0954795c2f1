"""Properties of every prompt style: parsing loses no text, and acting and training see the same tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from textwrap import dedent
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.engine import Completion, Sampling
from rollout.engines.scripted import ScriptedConfig, ScriptedEngine
from rollout.environment import Reset, Step, Task
from rollout.environments.plugins import find_plugin
from rollout.episode.config import AgentConfig
from rollout.episode.episode import run_episode
from rollout.errors import UserError
from rollout.prompts.builder import PromptBuilder
from rollout.prompts.example import Demonstration, DemonstrationTurn
from rollout.prompts.style import INVENTED_OBSERVATION, Style
from rollout.prompts.styles import StyleName, new_style
from rollout.prompts.tokenizer import Tokenizer, load_tokenizer
from rollout.prompts.tool import ACT, Tool
from rollout.trajectory import Author, Identity, Kind, StopReason, Trajectory

NAMES: tuple[StyleName, ...] = get_args(StyleName)
WORKED = Demonstration(
    "put a mug in fridge",
    "You see a fridge 1.",
    (
        DemonstrationTurn(
            "I go.", "go to fridge 1", "You arrive.", (("goal", "put a mug in fridge"), ("held", "mug 1"))
        ),
        DemonstrationTurn("", "open fridge 1", "It is open: é🙂", (("goal", "put a mug in fridge"), ("held", ""))),
        DemonstrationTurn(
            "I win.", "move mug 1 to fridge 1", "You win.", (("goal", "put a mug in fridge"), ("held", "mug 1"))
        ),
    ),
)
RESET = Reset(WORKED.observation, WORKED.instruction)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = (
    "Thought: Action: action: goal: current_location: thought: > Code: ``` <end_code> <answer> </answer> Observation: "
    "go é 🙂 None"
).split()
MARKS = [
    *WORDS,
    "```py\n",
    "\n```",
    "locations visited:",
    "\n",
    " ",
    "\t",
    "\r",
    "\x00",
    "\x1f",
    "```json\n",
    "<think>",
]
MARKS += ["</think>", "**", "### Action\n", "Action 1:", "\uff1a", "`", "x = 1", "'''", "\nObservation 1:"]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(MARKS)).map("".join))


@cache
def style_of(name: StyleName) -> Style:
    return new_style(name, "Be a help.\n{form}", [WORKED], shown=1, answer="{}")


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Tokenizer:
    return load_tokenizer(model)


@pytest.fixture(scope="module")
def builders(tokenizer: Tokenizer) -> dict[str, PromptBuilder]:
    return {name: PromptBuilder(tokenizer, style_of(name)) for name in NAMES}


@given(name=st.sampled_from(NAMES), text=TEXTS)
@settings(max_examples=400)
def test_any_text_is_parsed_without_loss(name: StyleName, text: str) -> None:
    parsed = style_of(name).parse(text)
    ends = [end for _, end in parsed.spans]
    assert ends == sorted(set(ends)), "in order, none of them empty"
    assert ends[-1:] == ([len(text)] if text else [])
    starts = (0, *ends)
    acts = [text[start:end] for start, (kind, end) in zip(starts, parsed.spans, strict=False) if kind is Kind.ACT]
    assert [dedent(act).strip() for act in acts] == ([] if parsed.action is None else [parsed.action])
    assert {kind for kind, _ in parsed.spans} <= {Kind.REASON, Kind.ACT, Kind.FORMAT, Kind.TRAILING}


@pytest.mark.parametrize("name", NAMES)
def test_a_rendered_turn_is_parsed_to_its_action(name: StyleName) -> None:
    style = style_of(name)
    for turn in WORKED.turns:
        text, _ = style.turn(turn)
        action = f'print(act("{turn.action}"))' if name == "codeact" else turn.action
        assert style.parse(text).action == action
        assert (turn.thought in text) == (name != "act" or not turn.thought)


@given(name=st.sampled_from(NAMES), data=st.data())
@settings(max_examples=100)
def test_any_tokens_are_split_without_loss(
    builders: dict[str, PromptBuilder], name: StyleName, data: st.DataObject
) -> None:
    builder = builders[name]
    parts = builder.tokenizer.encode_markers("".join(MARKS) + "<|end|><|user|>")
    ids = tuple(data.draw(st.lists(st.sampled_from(parts), max_size=40)))
    turn = builder.turn(Completion(ids, None, "", "length"), 1)
    record = [segment for segment in turn.segments if segment.author is Author.MODEL]
    assert tuple(token for segment in record for token in segment.token_ids) == ids
    assert "".join(segment.text for segment in record) == builder.tokenizer.decode(ids)


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_has_the_text_that_the_chat_template_renders(
    make_model: Callable[..., str], name: StyleName
) -> None:
    tokenizer = load_tokenizer(make_model(CHATML, special=["<|pad|>", "<|im_end|>", "<|im_start|>"]))
    style = style_of(name)
    turns = [style.turn(turn) for turn in WORKED.turns]
    segments = PromptBuilder(tokenizer, style).transcript(RESET, turns, hints=("It is cold.",))
    opening = style.example(WORKED) + style.hint("It is cold.") + RESET.observation + style.task(RESET.instruction)
    messages = [{"role": "system", "content": style.instructions}, {"role": "user", "content": opening}]
    for text, observation in turns:
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": observation}]
    rendered = tokenizer.render(messages)
    token_ids = [token for segment in segments for token in segment.token_ids]
    assert rendered == "".join(segment.text for segment in segments) + "<|im_end|>\n"
    assert rendered == tokenizer.decode(token_ids) + "<|im_end|>\n"


class Replaying:
    """Replays the observations of a demonstration, as long as the agent repeats its actions."""

    def __init__(self, actions: Sequence[str | None], observations: Sequence[str]) -> None:
        self.turns = list(zip(actions, observations, strict=True))

    def reset(self, task: Task) -> Reset:
        return RESET

    def step(self, action: str) -> Step:
        expected, observation = self.turns.pop(0)
        assert action == expected
        return Step(observation, done=not self.turns, success=not self.turns)

    def admissible_actions(self) -> None:
        return None

    def close(self) -> None:
        pass


class Listening(ScriptedEngine):
    """Records its requests."""

    asked: list[tuple[tuple[int, ...], Sampling]]

    async def generate(self, token_ids: Sequence[int], sampling: Sampling, session_id: str) -> Completion:
        self.asked.append((tuple(token_ids), sampling))
        return await super().generate(token_ids, sampling, session_id)


async def act_out(builder: PromptBuilder, tokenizer: Tokenizer, sampling: Sampling) -> tuple[Trajectory, Listening]:
    """Roll out the demonstration with an engine and an environment."""
    style = builder.style
    turns = [style.turn(turn) for turn in WORKED.turns]
    engine = Listening(ScriptedConfig(tokenizer="-", replies=tuple(text for text, _ in turns)), tokenizer)
    engine.asked = []
    environment = Replaying([style.parse(text).action for text, _ in turns], [observed for _, observed in turns])
    config = AgentConfig(max_tokens=10**5, sampling=sampling)
    identity = Identity("run", "teacher", 0, "t", 0, "replaying", "train", "t")
    task = Task("t", "replaying", "train", "t")
    return await run_episode(task, environment, engine, builder, config, identity), engine


@pytest.mark.parametrize("name", NAMES)
async def test_acting_and_training_see_the_same_tokens(
    builders: dict[str, PromptBuilder], tokenizer: Tokenizer, name: StyleName
) -> None:
    builder = builders[name]
    record, engine = await act_out(builder, tokenizer, Sampling(max_tokens=500))
    assert record.outcome.stop_reason is StopReason.SUCCESS
    written = builder.transcript(RESET, [builder.style.turn(turn) for turn in WORKED.turns])
    assert [(s.kind, s.author, s.turn, s.text, s.token_ids) for s in record.segments] == [
        (s.kind, s.author, s.turn, s.text, s.token_ids) for s in written
    ]
    assert all(record.token_ids[: len(prompt)] == prompt for prompt, _ in engine.asked)
    assert record.policy.prompt_style == name


@pytest.mark.parametrize("name", NAMES)
async def test_a_style_adds_its_stop_strings_to_those_of_the_recipe(
    builders: dict[str, PromptBuilder], tokenizer: Tokenizer, name: StyleName
) -> None:
    record, engine = await act_out(builders[name], tokenizer, Sampling(max_tokens=500, stop=("Observation:", "###")))
    added = {"codeact": ("<end_code>", *INVENTED_OBSERVATION, "Calling tools:"), "cot": ("</answer>",)}
    wanted = ("Observation:", "###", *added.get(name, INVENTED_OBSERVATION))
    assert {sampling.stop for _, sampling in engine.asked} == {wanted}
    assert tuple(json.loads(record.policy.sampling_json)["stop"]) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_the_instructions_describe_the_turn_format(name: StyleName) -> None:
    marks = {"react": "\nThought: ", "act": "\nAction: ", "stateact": "\nheld: ", "codeact": "```py", "cot": "<answer>"}
    openings = {"codeact": "You work in turns", "cot": "Think step by step"}
    mark, told = marks[name], style_of(name).instructions
    assert told.startswith(f"Be a help.\n{openings.get(name, 'In each turn ')}")
    assert mark in told
    assert "{form}" not in told


def test_without_a_placeholder_only_the_formats_of_code_and_answers_are_described() -> None:
    told = {name: new_style(name, "Be a help.", answer="{}").instructions for name in NAMES}
    assert {name for name in NAMES if told[name] == "Be a help."} == {"react", "act", "stateact"}
    swim = Tool("swim", "swims", "metres (integer)", "string")
    assert "- swim: swims\n" in new_style("codeact", "Be a help.", tools=[swim]).instructions


def test_code_sees_the_actions_after_the_placeholder_only_if_it_can_do_any_action() -> None:
    instructions = "Be a help.\n{form}\nswim[metres] swims."
    swim, told = Tool("swim", "swims", "metres (integer)", "string", "swim[{}]"), {}
    for name in NAMES:
        styles = [new_style(name, instructions, tools=tools, answer="{}") for tools in ([ACT, swim], [swim], [])]
        told[name] = ["swim[metres]" in style.instructions for style in styles]
    always, never = [True] * 3, [False] * 3
    assert told == {"react": always, "act": always, "stateact": always, "codeact": [True, False, False], "cot": never}
    assert "\n- swim: " in new_style("codeact", instructions, tools=[], added_tools=[swim]).instructions


def test_state_keys_are_those_of_the_environment_whether_or_not_examples_are_shown() -> None:
    style = new_style("stateact", "Be a help.", [WORKED])
    assert style.parse("held: mug 1\naction: go").spans[0] == (Kind.FORMAT, len("held:"))


def test_examples_are_rendered_by_the_style() -> None:
    for name in NAMES:
        style = style_of(name)
        turns = "".join(f"\n{text}\n{observed}" for text, observed in map(style.turn, WORKED.turns))
        opening = "Here is an example.\nYou see a fridge 1.\nYour task is to: put a mug in fridge."
        assert style.example(WORKED) == f"{opening}{turns}\n\n"


def test_examples_that_a_style_cannot_render_are_refused_if_they_are_shown() -> None:
    stateless = Demonstration("a", "b", (DemonstrationTurn("c", "d", "e"),))
    for name in NAMES:
        new_style(name, "Be a help.", ["Once.", stateless], answer="{}")
    assert new_style("react", "Be a help.", ["Once.", stateless], shown=2).examples == ("Once.", stateless)
    for name in ("act", "stateact", "codeact", "cot"):
        with pytest.raises(UserError, match=f"agent.style is {name}.* set agent.examples to 0"):
            new_style(name, "Be a help.", ["Once."], shown=1)
    with pytest.raises(UserError, match="agent.style is stateact"):
        new_style("stateact", "Be a help.", [stateless], shown=1)


@pytest.mark.parametrize(("world", "advice"), [("webshop", "before you buy"), ("hotpotqa", "The answer is short")])
def test_all_styles_show_general_instructions_but_code_does_not_list_the_actions(world: str, advice: str) -> None:
    plugin = find_plugin(world)
    full, tools = plugin.load_instructions()["full"], plugin.load_tools()
    told = {name: new_style(name, full, tools=tools, answer="{}").instructions for name in NAMES}
    assert all(advice in text for text in told.values())
    assert {name for name in NAMES if "\nsearch[" in told[name]} == {"react", "act", "stateact"}
