"""Makes the tokenizer that the shipped models share: byte-level BPE in which every word of the house is one token.

    python -m rollout.models.make_tokenizer FOLDER

Any text can be written in it, since the merges stand on bytes. Its words are those of seeded play in generated houses,
so that the same call gives the same files.
"""

from __future__ import annotations

import json
import re
import sys
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
_VOCABULARY = 2000
"""At most; merges stop earlier, when all words are whole."""
_MIN_FREQUENCY = 20
_EPISODES = 400
_STEPS = 30


def words() -> list[str]:
    """Every word that occurs in play of generated houses, with its leading space if it has one; nouns and numbers too.

    Only the set counts, so the tokenizer does not change with how players play, but with the words they use.
    """
    texts = [INSTRUCTIONS["short"], "\nYour task is to:", " hot cold cool clean sliced"]
    texts += [f" {name}" for name in (*NOUNS, *(kind for room in ROOMS.values() for kind in room.full), *range(31))]
    for seed, task in enumerate(HouseholdTasks("full").tasks("train", _EPISODES)):
        for policy in (HouseholdExpert(seed), RandomPlayer(seed)):
            world = World(generate_game(task.payload))
            text = f"{world.intro()}\nYour task is to: {world.game.instruction}."
            texts.append(text)
            for _ in range(_STEPS):
                thought, action = policy.respond(text).removeprefix("Thought:").split("\nAction:")
                text = world.step(action.strip()).observation
                texts += [thought, action, text]
    return sorted({word for text in texts for word in re.findall(_WORD, text)})


def make_tokenizer(folder: Path) -> int:
    """Train it, write its two files to ``folder``, and give the size of its vocabulary."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    by_word = pre_tokenizers.Split(Regex(_WORD), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([by_word, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((word for word in words() for _ in range(_MIN_FREQUENCY)), trainer)
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
