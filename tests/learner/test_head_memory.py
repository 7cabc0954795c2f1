"""The measured peak of head and loss is small and does not grow with the number of trained tokens."""

from __future__ import annotations

import pytest

from learner.head_memory import head_peak_mib


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_peak_is_below_512_mib_and_flat_from_1k_to_16k_trained_tokens() -> None:
    few, many = head_peak_mib(1024), head_peak_mib(16_384)
    assert many <= 512
    assert many == pytest.approx(few, rel=0.1)
