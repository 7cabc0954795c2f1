"""The vote among candidates: the most frequent outcome wins; invalid and missing actions do not count."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rollout.environment import Step
from rollout.episode.self_consistency import outcome, vote

STEPS = st.builds(Step, st.sampled_from("abc"), valid=st.booleans(), answer=st.sampled_from([None, None, "x", "y"]))
TRIED = st.lists(st.none() | STEPS, min_size=1, max_size=9)


def valid(tried: list[Step | None]) -> list[Step]:
    return [step for step in tried if step is not None and step.valid]


@given(TRIED)
def test_the_winner_has_a_most_frequent_outcome_and_is_the_first_with_it(tried: list[Step | None]) -> None:
    number, votes = vote(tried), Counter(map(outcome, valid(tried)))
    winner = tried[number]
    if not votes:
        assert number == next((i for i, step in enumerate(tried) if step), 0)
        return
    assert winner is not None
    assert winner.valid
    assert votes[outcome(winner)] == max(votes.values())
    assert all(step is None or not step.valid or outcome(step) != outcome(winner) for step in tried[:number])
    tied = {key for key, count in votes.items() if count == max(votes.values())}
    assert not any(outcome(step) in tied for step in valid(tried[:number]))


@given(TRIED, st.randoms(use_true_random=False))
def test_without_ties_the_order_does_not_matter(tried: list[Step | None], random: object) -> None:
    votes = Counter(map(outcome, valid(tried))).most_common(2)
    if not votes or (len(votes) == 2 and votes[0][1] == votes[1][1]):
        return
    shuffled = list(tried)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    winner = shuffled[vote(shuffled)]
    assert winner is not None
    assert outcome(winner) == votes[0][0]


@given(TRIED, st.lists(st.none() | st.builds(Step, st.just("a"), valid=st.just(False)), max_size=9))
def test_invalid_and_missing_actions_do_not_change_a_vote(tried: list[Step | None], more: list[Step | None]) -> None:
    if valid(tried):
        assert vote([*tried, *more]) == vote(tried)
        assert vote([*more, *tried]) == len(more) + vote(tried)


def test_answers_are_compared_by_their_text_and_not_by_their_observation() -> None:
    wrong = [Step("Wrong.", done=True, answer=answer) for answer in ("3", "4", "5")]
    right = [Step("Right.", reward=1.0, done=True, success=True, answer=" 7 ") for _ in range(2)]
    assert vote([*wrong, *right]) == 3
    assert vote([*wrong, Step("7")]) == 0
