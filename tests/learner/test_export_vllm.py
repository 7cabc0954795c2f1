"""A saved model stops by itself and is prompted as it was trained, in plain vLLM."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from learner.export import TrainedFormat
from learner.model import save_model
from tests.chat_models import CHATML, IM_END, OTHER, ending_model, save_tokenizer

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]


def test_plain_vllm_prompts_with_the_trained_template_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_tokenizer(tmp_path / "base", OTHER, eos="<|endoftext|>")
    model, folder = ending_model(), str(tmp_path / "saved")
    save_model(model, model.state_dict().items(), base, folder, torch.float32, TrainedFormat(CHATML, "<|im_end|>"))
    for name, value in {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setitem(os.environ, name, value)
    from vllm import LLM, SamplingParams

    llm = LLM(folder, dtype="float32", enforce_eager=True, max_model_len=256, kv_cache_memory_bytes=2**28)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}]
    (output,) = llm.chat(messages, SamplingParams(max_tokens=9, temperature=0.0), use_tqdm=False)
    expected = llm.get_tokenizer().encode(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nGo on.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert output.prompt_token_ids == expected
    assert (list(output.outputs[0].token_ids), output.outputs[0].finish_reason) == ([IM_END], "stop")
