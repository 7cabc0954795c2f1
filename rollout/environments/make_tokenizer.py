"""Creates the tokenizer shared by the models of an environment: byte-level BPE with about one token per word.

    python -m rollout.environments.make_tokenizer ENVIRONMENT FOLDER

It can encode any text, because it falls back to bytes. Its words are collected from seeded episodes, so the same call
creates the same files.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from rollout.environments.plugin import EnvironmentPlugin
from rollout.environments.plugins import find_plugin
from rollout.environments.policies import make_policy
from rollout.environments.vocabulary import Vocabulary
from rollout.errors import UserError

SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_VOCABULARY = 4000
"""Maximum vocabulary size; merging stops earlier if every word is one token."""
_MIN_FREQUENCY = 20
_EPISODES = 400
_STEPS = 30


def words(environment: str) -> list[str]:
    """All words of episodes on generated tasks, each with its adjacent space, and the words that the vocabulary lists.

    The tokenizer depends on the set of words only, not on their frequency in the episodes.
    """
    plugin = find_plugin(environment)
    vocabulary = vocabulary_of(plugin)
    texts = [plugin.load_instructions()["short"], "\nYour task is to:", *vocabulary.words()]
    texts += _episode_texts(plugin, vocabulary)
    return sorted({word for text in texts for word in re.findall(vocabulary.pattern, text)})


def vocabulary_of(plugin: EnvironmentPlugin) -> Vocabulary:
    """Load the vocabulary of an environment. Raises `UserError` if it has none."""
    vocabulary: Vocabulary | None = plugin.load("vocabulary")
    if vocabulary is None:
        raise UserError(f"the environment {plugin.name} has no vocabulary; give its EnvironmentPlugin one")
    return vocabulary


def _episode_texts(plugin: EnvironmentPlugin, vocabulary: Vocabulary) -> Iterator[str]:
    """Yield the observations, thoughts and actions of expert and random episodes."""
    config = plugin.config_model()(type=plugin.name, **vocabulary.settings)
    environment = plugin.make_environment(config)
    for seed, task in enumerate(plugin.make_tasks(config).tasks("train", _EPISODES)):
        for kind in ("expert", "random"):
            policy, reset = make_policy(f"{plugin.name}-{kind}", seed), environment.reset(task)
            text = f"{reset.observation}\nYour task is to: {reset.instruction}."
            yield text
            if kind == "expert" and plugin.reasoner:
                yield make_policy(f"{plugin.name}-{kind}", seed, "cot").respond(text)
            for _ in range(_STEPS):
                first, second = vocabulary.delimiters
                thought, action = policy.respond(text).removeprefix(first).split(second)
                step = environment.step(action.strip())
                text = step.observation
                yield from (thought, action, text)
                if step.done:
                    break


def make_tokenizer(environment: str, folder: Path) -> int:
    """Create the tokenizer, write its two files to ``folder``, and return the vocabulary size."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    vocabulary, found = vocabulary_of(find_plugin(environment)), words(environment)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = sorted(to_bytes.alphabet())
    if vocabulary.merged:
        tokenizer = Tokenizer(models.BPE())
    else:
        listed = [*SPECIAL_TOKENS, *letters, *(to_bytes.pre_tokenize_str(word)[0][0] for word in found)]
        numbered = {text: number for number, text in enumerate(dict.fromkeys(listed))}
        tokenizer = Tokenizer(models.BPE(vocab=numbered, merges=[], ignore_merges=True))
        tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    by_word = pre_tokenizers.Split(Regex(vocabulary.pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([by_word, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    if vocabulary.merged:
        trainer = trainers.BpeTrainer(
            vocab_size=_VOCABULARY,
            min_frequency=_MIN_FREQUENCY,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=letters,
            show_progress=False,
        )
        tokenizer.train_from_iterator((word for word in found for _ in range(_MIN_FREQUENCY)), trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in vocabulary.delimiters])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|pad|>",
        "eos_token": "<|end|>",
        "additional_special_tokens": list(SPECIAL_TOKENS[2:]),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    return tokenizer.get_vocab_size()


if __name__ == "__main__":
    print(make_tokenizer(sys.argv[1], Path(sys.argv[2])))
