"""True and false are no numbers, wherever they stand in a recipe."""

from __future__ import annotations

import pytest

from cluster.config.load import load_recipe
from rollout.errors import UserError


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("rounds=true", "rounds"),
        ("agent.sampling.max_tokens=true", "agent.sampling.max_tokens"),
        ("agent.step_timeout_s=true", "agent.step_timeout_s"),
        ("teacher.engine.cpu_threads=true", "teacher.engine.cpu_threads"),
        ("learner.terms.0.weight=true", "learner.terms.0.weight"),
        ("teacher.resources.custom={chip: true}", "teacher.resources.custom.chip"),
        (
            "environment={type: mix, parts: [{weight: true, environment: {type: math}}]}",
            "environment.parts.0.weight",
        ),
        ("environment={type: math, check_cpu_limit_s: true}", "environment.check_cpu_limit_s"),
    ],
)
def test_a_switch_in_the_place_of_a_number_is_refused(override: str, path: str) -> None:
    with pytest.raises(UserError, match=rf"{path}: must be a number \(got true\)"):
        load_recipe("quickstart", [override])


@pytest.mark.parametrize("word", ["yes", "on", "no", "Off", "y"])
def test_words_that_yaml_1_1_reads_as_switches_are_no_numbers(word: str) -> None:
    with pytest.raises(UserError, match=rf"agent.max_tokens: must be a valid integer.*got \"{word}\""):
        load_recipe("quickstart", [f"agent.max_tokens={word}"])


def test_switches_are_still_switches_and_leading_zeros_make_no_octal_number() -> None:
    recipe = load_recipe("quickstart", ["learner.recompute_activations=yes", "agent.max_tokens=0200", "seed=010"])
    assert recipe.learner is not None
    assert (recipe.learner.recompute_activations, recipe.agent.max_tokens, recipe.seed) == (True, 200, 10)
