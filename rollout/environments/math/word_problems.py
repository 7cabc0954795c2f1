"""Word problems of one to four steps, composed of the sentences of a story."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rollout.environments.math.calculator import CalculationError, calculate
from rollout.environments.math.sentences import Memory, Sentence
from rollout.environments.math.stories import DISTRACTORS, FAMILIES, NAMES, PRICE, VEHICLES

MAX_STEPS = 4
_MAX_VALUE = 5000
_TRIES = 40


@dataclass(frozen=True, slots=True)
class Plot:
    """Structure of a problem without its numbers and names; splits hold out whole plots."""

    family: str
    steps: tuple[str, ...]
    question: str

    @property
    def key(self) -> str:
        return "/".join((self.family, *self.steps, self.question))


def draw_plot(family: str, rng: Random) -> Plot:
    """Draw a plot of a family; some plots have no solution in whole numbers."""
    story = FAMILIES[family]
    steps = tuple(rng.choice(sorted(story.steps)) for _ in range(rng.randint(1, MAX_STEPS)))
    return Plot(family, steps, rng.choice(sorted(story.questions)))


def write_problem(plot: Plot, rng: Random, distractors: int) -> tuple[str, str] | None:
    """Text and answer of a problem with this plot; None if no positive whole numbers were found for it."""
    for _ in range(_TRIES):
        story = _StoryWriter(plot, rng)
        if story.answer is not None:
            return story.text(distractors), story.answer
    return None


class _StoryWriter:
    """One attempt to write a plot with drawn numbers; ``answer`` is None if a value is not a positive whole number."""

    def __init__(self, plot: Plot, rng: Random) -> None:
        self._rng = rng
        self._family = FAMILIES[plot.family]
        self._names = rng.sample(NAMES, MAX_STEPS + 2)
        self._things = rng.sample(self._family.things, 3)
        self._vehicle = rng.choice(VEHICLES)
        self._people = [self._names[0]]
        self._memory: Memory = {}
        self._sentences: list[str] = []
        self.answer: str | None = None
        try:
            self._write(plot)
        except (KeyError, CalculationError):
            self.answer = None

    def text(self, distractors: int) -> str:
        """The story with inserted distractors."""
        sentences = list(self._sentences)
        for sentence in self._rng.sample(DISTRACTORS, distractors):
            slots = {"p": self._names[-1], **sentence.draw(self._rng)}
            sentences.insert(self._rng.randrange(1, len(sentences)), sentence.write(slots))
        return " ".join(sentences)

    def _write(self, plot: Plot) -> None:
        for sentence in self._family.opening:
            self._add(sentence)
        if plot.family == "shopping":
            for thing in self._things:
                self._add(PRICE, t=thing)
        for name in plot.steps:
            self._add(self._family.steps[name])
        for sentence in self._family.questions[plot.question]:
            self.answer = self._add(sentence)

    def _add(self, sentence: Sentence, **given: str) -> str:
        slots = {**self._slot_values(sentence), **sentence.draw(self._rng), **given}
        value = calculate(sentence.calculation(slots, self._memory))
        if not value.isdigit() or not 0 < int(value) <= _MAX_VALUE:
            raise CalculationError("not a whole positive number of common size")
        if sentence.sets:
            self._memory[sentence.key(slots)] = value
        self._sentences.append(sentence.write(slots))
        return value

    def _slot_values(self, sentence: Sentence) -> dict[str, str]:
        """Values of the name slots. In a sentence about two people, a step adds one and a question uses known ones."""
        slots = {"p": self._people[0], "v": self._vehicle, "t": self._things[0]}
        if self._family is FAMILIES["shopping"]:
            slots["t"] = self._rng.choice(self._things)
        if "q" not in sentence.names:
            return slots
        if sentence.is_question:
            slots["q"] = self._people[-1]
            slots["p"] = self._rng.choice(self._people[:-1])
        else:
            slots["p"] = self._people[-1]
            slots["q"] = self._names[len(self._people)]
            self._people.append(slots["q"])
        return slots
