"""Small chat templates with the structure of those of 2025-26, and the tokens that they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A template, its special tokens (padding and EOS first), tokens that are not special, and what it adds to a turn.

    Attributes:
        opens: what the generation prompt ends with.
        answer_prefix: what precedes an answer without a thought.
        end: the token that ends a turn.
    """

    template: str
    special: tuple[str, ...]
    added: tuple[str, ...] = ()
    opens: str = ""
    answer_prefix: str = ""
    end: str = "<|im_end|>"
    bos: str | None = None

    def folder(self, make_model: Callable[..., str]) -> str:
        """Write a tokenizer with this template."""
        return make_model(self.template, special=list(self.special), added=self.added, bos=self.bos)


_CHATML = ("<|endoftext|>", "<|im_end|>", "<|im_start|>")
_TAGS = ("<think>", "</think>")
_ROLE_LOOP = "{%- for m in messages %}{%- set c = m.content | trim %}"

QWEN3 = (
    _ROLE_LOOP
    + """
{%- if m.role == 'assistant' and '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""
)
QWEN3_5 = (
    _ROLE_LOOP
    + """
{%- if m.role == 'assistant' %}{% set thought = '' %}
{%- if '</think>' in c %}{% set thought = c.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{{- '<|im_start|>assistant\\n<think>\\n' + thought + '\\n</think>\\n\\n' + c + '<|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"""
)
QWEN3_5_CLOSED = QWEN3_5.replace(
    "assistant\\n<think>\\n' }}{% endif", "assistant\\n<think>\\n\\n</think>\\n\\n' }}{% endif"
)
QWEN3_THINKING = QWEN3.replace("<|im_start|>assistant\\n' }}\n", "<|im_start|>assistant\\n<think>\\n' }}\n", 1)
DEEPSEEK_R1 = """
{%- set ns = namespace(system='') %}{% for m in messages if m.role == 'system' %}{% set ns.system = m.content %}
{%- endfor %}{{- bos_token + ns.system }}
{%- for m in messages %}{%- if m.role == 'user' %}{{- '<｜User｜>' + m.content }}
{%- elif m.role == 'assistant' %}{{- '<｜Assistant｜>' + m.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}
{%- endif %}{% endfor %}{% if add_generation_prompt %}{{- '<｜Assistant｜><think>\\n' }}{% endif %}"""
DEEPSEEK_V3_1 = DEEPSEEK_R1.replace("'<｜Assistant｜>' + m", "'<｜Assistant｜></think>' + m").replace(
    "<think>\\n", "</think>"
)
GLM_4_MOE = """[gMASK]<sop>
{%- for m in messages %}{% if m.role == 'assistant' %}<|assistant|>
{%- set c = m.content %}{% set thought = '' %}{% if '</think>' in c %}
{%- set thought = c.split('</think>')[0].split('<think>')[-1] %}{% set c = c.split('</think>')[-1] %}{% endif %}
{%- if loop.last and thought %}{{- '\\n<think>' + thought + '</think>' }}{% else %}
{{- '\\n<think></think>' }}{% endif %}
{{- '\\n' + c.strip() }}{% else %}{{- '<|' + m.role + '|>\\n' + m.content }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""
NEMOTRON_3 = """
{%- for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' %}
{%- if '<think>' not in c and '</think>' not in c %}{% set c = '<think></think>' ~ c %}{% endif %}
{%- if not loop.last %}{% set c = '<think></think>' ~ c.split('</think>')[-1] %}{% endif %}{% endif %}
{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"""
NEMOTRON_NANO_2 = """
{%- for m in messages %}{% set c = m.content.strip() %}
{%- if m.role == 'system' %}{{- '<SPECIAL_10>System\\n' + c + '\\n\\n' }}
{%- elif m.role == 'user' %}{{- '<SPECIAL_11>User\\n' + c + '\\n' }}
{%- else %}{{- '<SPECIAL_11>Assistant\\n' + c.split('</think>')[-1].strip() + '\\n<SPECIAL_12>\\n\\n' }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{- '<SPECIAL_11>Assistant\\n<think>\\n\\n' }}{% endif %}"""
GPT_OSS = """
{{- '<|start|>system<|message|>You are ChatGPT.\\nCurrent date: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}
{%- for m in messages %}{% if m.role == 'system' %}
{{- '<|start|>developer<|message|># Instructions\\n\\n' + m.content + '\\n\\n<|end|>' }}
{%- elif m.role == 'user' %}{{- '<|start|>user<|message|>' + m.content + '<|end|>' }}
{%- else %}{% if '<|channel|>' in m.content %}{{- raise_exception('channel tags in the content') }}{% endif %}
{{- '<|start|>assistant<|channel|>final<|message|>' + m.content }}
{{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{% endif %}"""
GPT_OSS_ANALYSIS = GPT_OSS.replace("'<|start|>assistant' }}", "'<|start|>assistant<|channel|>analysis<|message|>' }}")
GEMMA_4 = """
{{- bos_token }}{% for m in messages %}{{- '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}
{{- m.content | trim }}{{- '<turn|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|turn>model\\n<|channel>thought\\n<channel|>' }}{% endif %}"""
LLAMA_3_2 = """
{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}
{%- set date_string = strftime_now("%d %b %Y") %}{% else %}{% set date_string = "26 Jul 2024" %}{% endif %}{% endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" + messages[0].content | trim + "<|eot_id|>" }}
{%- for m in messages[1:] %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim }}
{{- '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
MISTRAL = """
{{- bos_token }}{%- for m in messages %}{% if m.role == 'system' %}{{- '[SYSTEM_PROMPT]' + m.content }}
{{- '[/SYSTEM_PROMPT]' }}{% elif m.role == 'user' %}{{- '[INST]' + m.content + '[/INST]' }}
{%- else %}{{- m.content + eos_token }}{% endif %}{% endfor %}"""

_DEEPSEEK = ("<｜▁pad▁｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>")
_HARMONY = ("<|endoftext|>", "<|return|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>")
_END = "</think>\n\n"
_BOS = "<｜begin▁of▁sentence｜>"
CASES: dict[str, Case] = {
    "qwen3": Case(QWEN3, _CHATML, _TAGS),
    "qwen3-thinking": Case(QWEN3_THINKING, _CHATML, _TAGS, "<think>\n", f"\n{_END}"),
    "qwen3.5": Case(QWEN3_5, _CHATML, _TAGS, "<think>\n", f"\n{_END}"),
    "qwen3.5-closed": Case(QWEN3_5_CLOSED, _CHATML, _TAGS, f"<think>\n\n{_END}"),
    "deepseek-r1": Case(DEEPSEEK_R1, _DEEPSEEK, _TAGS, "<think>\n", f"\n{_END}", "<｜end▁of▁sentence｜>", _BOS),
    "deepseek-v3.1": Case(DEEPSEEK_V3_1, _DEEPSEEK, _TAGS, "</think>", "", "<｜end▁of▁sentence｜>", _BOS),
    "glm-4-moe": Case(
        GLM_4_MOE,
        ("<|endoftext|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "[gMASK]", "<sop>"),
        _TAGS,
        "<|assistant|>",
        "\n<think></think>\n",
        "<|user|>",
    ),
    "nemotron-3": Case(NEMOTRON_3, _CHATML, _TAGS, "<think>\n", f"\n{_END}"),
    "nemotron-nano-2": Case(
        NEMOTRON_NANO_2,
        ("<unk>", "<SPECIAL_12>", "<SPECIAL_10>", "<SPECIAL_11>"),
        _TAGS,
        "<think>\n\n",
        f"\n{_END}",
        "<SPECIAL_12>",
    ),
    "gpt-oss": Case(GPT_OSS, _HARMONY, (), "<|start|>assistant", "<|channel|>final<|message|>", "<|return|>"),
    "gpt-oss-analysis": Case(
        GPT_OSS_ANALYSIS,
        _HARMONY,
        (),
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|return|>",
    ),
    "gemma-4": Case(
        GEMMA_4,
        ("<pad>", "<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>"),
        (),
        "<|channel>thought\n<channel|>",
        "",
        "<turn|>",
        "<bos>",
    ),
    "llama-3.2": Case(
        LLAMA_3_2,
        ("<|finetune_right_pad_id|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
        (),
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "",
        "<|eot_id|>",
        "<|begin_of_text|>",
    ),
    "mistral": Case(
        MISTRAL,
        ("<pad>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        (),
        "[/INST]",
        "",
        "</s>",
        "<s>",
    ),
}
