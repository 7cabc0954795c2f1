"""The steps of a run before it runs, in the driver's order, with how much there is to do at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.config.collect import HintsRole
from cluster.config.recipe import Agent, LearnerRole, Recipe
from cluster.run.plan import can_be_evaluated, collecting_roles, failing_episodes
from rollout.episode.config import AgentConfig


@dataclass(frozen=True, slots=True)
class Phase:
    """A step of the run. ``episodes`` and ``tokens`` are upper bounds; 0 where there is nothing to count."""

    title: str
    episodes: int = 0
    tokens: int = 0
    note: str = ""


def phases(recipe: Recipe) -> Iterator[Phase]:
    """The steps of `cluster.driver.drive`."""
    if recipe.retrieval is not None:
        yield Phase("retrieval starts", note=f"index of {recipe.retrieval.corpus}, built if it is missing")
    yield Phase("engines start", note="teacher and student" if recipe.student_has_start else "teacher")
    for round in range(recipe.rounds):
        yield from _round(recipe, round)
    yield from _evaluations(recipe, ("student",))
    yield Phase("report")


def _round(recipe: Recipe, round: int) -> Iterator[Phase]:
    roles, of_round = collecting_roles(recipe), f", round {round}" if recipe.rounds > 1 else ""
    if recipe.hints is not None and round == 0:
        yield from _hints(recipe, recipe.hints)
    if recipe.first_thought is not None and "teacher" in roles:
        longest = recipe.first_thought.max_tokens or recipe.agent.max_tokens
        yield Phase(f"teacher thinks{of_round}", roles["teacher"], roles["teacher"] * longest, "first steps of thought")
    for role, tasks in roles.items():
        yield _acting(recipe.agent, f"{role} collects{of_round}", tasks * recipe.collect.attempts)
    if round == 0:
        yield from _evaluations(recipe, ("teacher", "student_before"))
    for role, tasks in roles.items():
        if recipe.score is not None and role in recipe.score.roles:
            episodes = tasks * recipe.collect.attempts
            yield Phase(f"teacher scores {role}{of_round}", episodes, episodes * recipe.agent.max_tokens)
    if recipe.learner is not None:
        yield _training(recipe, recipe.learner, round, of_round)
        if recipe.student is not None:
            yield Phase(f"student takes the weights{of_round}")


def _hints(recipe: Recipe, hints: HintsRole) -> Iterator[Phase]:
    episodes = failing_episodes(recipe)
    if episodes:
        yield _acting(recipe.agent, "teacher plays without hints", episodes)
    source = hints.bank or f"of the failures, written by {'rules' if hints.writer.by == 'rules' else 'the teacher'}"
    yield Phase("bank of hints", note=f"{source}; {hints.k} an episode")


def _acting(agent: AgentConfig, title: str, episodes: int) -> Phase:
    return Phase(title, episodes, episodes * most_tokens(agent))


def most_tokens(agent: AgentConfig) -> int:
    """Of one episode: all that it may hold, and what candidates write that are tried and not taken."""
    others = getattr(agent.acting, "candidates", 1) - 1
    return agent.max_tokens + others * min(agent.max_tokens, agent.max_steps * agent.sampling.max_tokens)


def _evaluations(recipe: Recipe, agents: Sequence[Agent]) -> Iterator[Phase]:
    evaluate = recipe.evaluate
    for agent in agents:
        if evaluate is not None and agent in evaluate.agents and can_be_evaluated(recipe, agent):
            yield _acting(recipe.evaluated_agent(), f"evaluate {agent}", evaluate.episodes * evaluate.attempts)


def _training(recipe: Recipe, learner: LearnerRole, round: int, of_round: str) -> Phase:
    """Tokens of the budget, or of all episodes where that is less; how many are kept is not known before."""
    collect = recipe.collect
    rounds = min(round + 1, collect.max_age_rounds or round + 1)
    each = sum(tasks for role, tasks in collecting_roles(recipe).items() if role in collect.train_on)
    episodes = each * collect.attempts * rounds
    # Episodes of other runs come on top, and nobody has counted them yet.
    bounds = [learner.max_tokens] if learner.max_tokens else []
    if learner.epochs and not collect.also:
        bounds.append(episodes * recipe.agent.max_tokens * learner.epochs)
    budget = (
        f"{learner.epochs} epochs" if learner.epochs else "",
        f"{learner.max_tokens:,} tokens" if learner.max_tokens else "",
        f"{learner.max_seconds:g} s" if learner.max_seconds else "",
    )
    step = f"{learner.batch_episodes} episodes" if learner.batch_episodes else f"{learner.batch_tokens:,} tokens"
    note = f"{' or '.join(filter(None, budget))}, steps of {step}, keeps {learner.keep}"
    return Phase(f"learner trains{of_round}", episodes, min(bounds, default=0), note)
