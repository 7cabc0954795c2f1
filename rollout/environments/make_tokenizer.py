"""Makes the tokenizer that the shipped models of a world share: byte-level BPE, about one token a word of that world.

    python -m rollout.environments.make_tokenizer WORLD FOLDER

Any text can be written in it, since the merges stand on bytes. Its words are those of seeded play in the world, so that
the same call gives the same files.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from rollout.environments.plugins import environments
from rollout.environments.policies import answers_in_one_turn, text_policies, text_policy
from rollout.environments.vocabulary import LANGUAGES, Language

SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_VOCABULARY = 4000
"""At most; merges stop earlier, when all words are whole."""
_MIN_FREQUENCY = 20
_EPISODES = 400
_STEPS = 30


def words(world: str) -> list[str]:
    """Every word that occurs in play of generated tasks, with its space if it has one, and all that always belong.

    Only the set counts, so the tokenizer does not change with how players play, but with the words they use.
    """
    language = LANGUAGES[world]
    texts = [environments()[world].instructions["short"], "\nYour task is to:", *language.words()]
    texts += _play(world, language)
    return sorted({word for text in texts for word in re.findall(language.pattern, text)})


def _play(world: str, language: Language) -> Iterator[str]:
    """What is read, thought and done, text by text."""
    kind = environments()[world]
    config = kind.Config(type=world, **language.settings)
    environment = kind.environment(config)
    for seed, task in enumerate(kind.tasks(config).tasks("train", _EPISODES)):
        for player in ("expert", "random"):
            policy, reset = text_policies()[f"{world}-{player}"](seed), environment.reset(task)
            text = f"{reset.observation}\nYour task is to: {reset.instruction}."
            yield text
            if player == "expert" and answers_in_one_turn(world):
                yield text_policy(f"{world}-{player}", seed, "cot").respond(text)
            for _ in range(_STEPS):
                first, second = language.delimiters
                thought, action = policy.respond(text).removeprefix(first).split(second)
                step = environment.step(action.strip())
                text = step.observation
                yield from (thought, action, text)
                if step.done:
                    break


def make_tokenizer(world: str, folder: Path) -> int:
    """Make it, write its two files to ``folder``, and give the size of its vocabulary."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    language, heard = LANGUAGES[world], words(world)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = sorted(to_bytes.alphabet())
    if language.merged:
        tokenizer = Tokenizer(models.BPE())
    else:
        listed = [*SPECIAL_TOKENS, *letters, *(to_bytes.pre_tokenize_str(word)[0][0] for word in heard)]
        numbered = {text: number for number, text in enumerate(dict.fromkeys(listed))}
        tokenizer = Tokenizer(models.BPE(vocab=numbered, merges=[], ignore_merges=True))
        tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    by_word = pre_tokenizers.Split(Regex(language.pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([by_word, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    if language.merged:
        trainer = trainers.BpeTrainer(
            vocab_size=_VOCABULARY,
            min_frequency=_MIN_FREQUENCY,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=letters,
            show_progress=False,
        )
        tokenizer.train_from_iterator((word for word in heard for _ in range(_MIN_FREQUENCY)), trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in language.delimiters])
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
