"""The benchmark of tools returns every figure, with the size of the large shop in its name."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cluster.bench.tools import bench_tools, label
from rollout.errors import UserError
from rollout.tools.sandbox.attacks import ATTACKS
from rollout.tools.sandbox.tiers import Tier, available_tiers

STRONG = [status for status in available_tiers() if status.works and status.tier is not Tier.RLIMITS]
FIGURES = {
    "python_call_ms",
    "attacks_contained",
    "attacks_total",
    "shop_click_ms",
    "shop_search_ms",
    "shop_search_sentence_ms",
    "encyclopaedia_search_ms_300",
    "shop_build_s_2k",
    "shop_bytes_2k",
    "shop_first_search_ms_2k",
    "shop_search_ms_2k",
    "shop_search_sentence_ms_2k",
    "shop_click_ms_2k",
    "shop_worker_mib_2k",
    "shop_worker_private_mib_2k",
}


@pytest.mark.skipif(not STRONG, reason="no tier with namespaces works on this machine")
def test_every_figure_is_present_and_positive() -> None:
    attacks = [attack for attack in ATTACKS if attack.aim == "secrets"][:3]
    shown = io.StringIO()
    console = Console(file=shown, width=120)
    result = bench_tools(products=2000, pages=300, attacks=attacks, repeats=5, console=console)
    figures = result["figures"]
    assert set(figures) == FIGURES
    assert all(value > 0 for value in figures.values())
    assert figures["attacks_contained"] == figures["attacks_total"] == 3
    assert figures["shop_worker_private_mib_2k"] < figures["shop_worker_mib_2k"]
    assert figures["shop_bytes_2k"] > 100 * 2000
    assert result["seeds"] == [0]
    assert "5 of 5: building and searching a shop of 2,000 products" in shown.getvalue()


@pytest.mark.skipif(not STRONG, reason="no tier with namespaces works on this machine")
def test_a_folder_without_the_official_files_is_refused(tmp_path: object) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        bench_tools(str(tmp_path), attacks=(), repeats=3, console=Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("number", "name"), [(1_000_000, "1m"), (100_000, "100k"), (1500, "1500"), (1_500_000, "1500k"), (3, "3")]
)
def test_sizes_in_names_are_abbreviated(number: int, name: str) -> None:
    assert label(number) == name
