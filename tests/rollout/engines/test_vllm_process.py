"""Exit of a process that ran a vLLM engine."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(600)]

SCRIPT = """
import asyncio, sys
from rollout.engines.vllm_engine import VllmConfig, start

async def main():
    engine = await start(VllmConfig(model=sys.argv[1], dtype="bfloat16", kv_cache_gib=0.25))
    await engine.close()

asyncio.run(main())
"""


# bfloat16: where the CPU has AMX, vLLM's attention uses it, which Linux must permit first.
def test_a_process_exits_without_a_traceback_after_the_engine_is_closed(first_model: str) -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT, first_model], capture_output=True, text=True, check=True)
    assert "Traceback" not in ended.stderr
