"""Makes the tokenizer that the shipped models share: byte-level BPE in which every word of the house is one token.

    python -m rollout.models.make_tokenizer FOLDER

Any text can be written in it, since the merges stand on bytes. It is trained on seeded play in generated houses, so
that the same call gives the same files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from rollout.household.catalogue import NOUNS, ROOMS
from rollout.household.expert import HouseholdExpert
from rollout.household.generator import HouseholdTasks, generate_game
from rollout.household.instructions import INSTRUCTIONS
from rollout.household.random_play import RandomPlayer
from rollout.household.world import World

SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
DELIMITERS = ("Thought:", "\nAction:")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_WORD = r" ?[A-Za-z]+| ?\d{1,2}| ?[^\sA-Za-z\d]+|\s+(?!\S)|\s+"
_VOCABULARY = 1000
"""At most; merges stop earlier, when all words that occur often enough are whole."""
_MIN_FREQUENCY = 20
_EPISODES = 400
_STEPS = 30


def corpus() -> Iterator[str]:
    """Texts of seeded episodes by the expert and the random player, and lists of all nouns and small numbers."""
    for seed, task in enumerate(HouseholdTasks("full").tasks("train", _EPISODES, seed=5)):
        for policy in (HouseholdExpert(seed), RandomPlayer(seed)):
            world = World(generate_game(task.payload))
            text = f"{world.intro()}\nYour task is to: {world.game.instruction}."
            yield text
            for _ in range(_STEPS):
                thought, action = policy.respond(text).removeprefix("Thought:").split("\nAction:")
                text = world.step(action.strip()).observation
                yield from (thought, action, text)
                if world.won:
                    break
    nouns = sorted({*NOUNS, *(name for room in ROOMS.values() for name in room.full)})
    for _ in range(_EPISODES):
        yield "".join(f" {noun}" for noun in nouns)
        yield "".join(f" {number}" for number in range(31))
        yield "".join(f" {state}" for state in ("hot", "cold", "cool", "clean", "sliced"))
        yield INSTRUCTIONS["short"]


def make_tokenizer(folder: Path) -> int:
    """Train it, write its two files to ``folder``, and give the size of its vocabulary."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(_WORD), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in DELIMITERS])
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
    print(make_tokenizer(Path(sys.argv[1])))
