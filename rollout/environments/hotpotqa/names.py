"""Names of entities in generated wikis, combined from invented words.

A quarter of all names is held out from ``train`` and ``valid_seen``. Their words are not held out, so an agent knows
every word of a name that it has never seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from rollout.environments.generated import stable_hash

FIRST_NAMES = (
    "Puzey Quunel Wuzel Drovel Dunna Skozel Branis Punis Stiza Tazor Nuror Krethor Barrin Mavun Greley Mokin Sellor "
    "Kravea Borel Pomis Punel Norun Nelor Zuva Grekin Breney Jarrea Yikin Budea Skomey Yumun Gevis Yunis Gunun Prurun "
    "Quinun Jorrey Kumin Fezin Kithel Krurrel Skazin Tridel Dazea Trannel Widin Torun Waza Skoka Skarin Stavun Trikey "
    "Pothin Quulor Hazey Jador Funel Predun"
).split()
LAST_NAMES = (
    "Tinolt Wenolt Hudurn Fezast Yannond Jerery Prinolt Muzast Thuzast Kulath Monesk Vinath Wallond Pallunt Stirurn "
    "Grovath Thazunt Thamurn Jithunt Quumolt Zerolt Tromery Pellesk Murrunt Wizast Sterond Grekond Kudivo Thadunt "
    "Dazast Berolt Wamunt Krezath Vezunt Rinnunt Yuvivo Torrurn Kethunt Juzurn Nurunt Bukesk Ratholt Rurery Derunt "
    "Pokivo Hozath Krozunt Kranolt Skavath Thalurn Felivo Krinald Prazald Nakolt Yurrath Rellunt Zurrald Girrast"
).split()
PLACES = (
    "Dadomb Pothisk Nerrisk Banulm Nodisk Merrulm Drulisk Dorrant Wivorn Trekulm Vomomb Grerisk Korock Luleth Jideth "
    "Torrulm Rakuff Vorrock Drureth Jokuff Bavarn Jithuff Zallell Wathant Takulm Momell Rurrock Nokarn Luvell Tilock "
    "Verrock Stekomb Dekell Jeluff Drometh Skalant Noreth Zaduff Fadell Fozant Jullomb Lumarn Trenell Druvuff Skivarn "
    "Grineth Hulleth Bivomb Bulorn Huvorn Vallulm Rellisk Prodeth Krizulm Yarell Wunell Nikulm Lellant"
).split()
PATTERNS: Mapping[str, Sequence[Sequence[str]]] = {
    "person": (FIRST_NAMES, LAST_NAMES),
    "town": ("Old New Upper Lower Port Castle North South East West Great Little".split(), PLACES),
    "river": ("Black White Red Silver Cold Long Broad Still".split(), PLACES),
    "region": ("Greater Inner Outer Far High Low Northern Southern".split(), PLACES),
    "company": (LAST_NAMES, "Works Foundry Mill Brewery Dairy Motors Looms Press".split()),
    "book": (("The",), PLACES, "Orchard Lantern Winter Letters Promise Mirror Garden Crossing".split()),
    "bridge": (LAST_NAMES, ("Bridge",)),
    "museum": (LAST_NAMES, ("Museum",)),
}
_TRIES_PER_LENGTH = 12
"""Draws before names get one more word, which happens only in large wikis."""
_HELD_BACK = 4


def is_held_back_name(name: str) -> bool:
    """Whether a name is held out from ``train`` and ``valid_seen``."""
    return stable_hash(f"name/{name}") % _HELD_BACK == 0


def draw_name(kind: str, rng: Random, taken: set[str], held_back: bool) -> str:
    """Draw a name that is not in ``taken``, and add it."""
    extra = 0
    while True:
        for _ in range(_TRIES_PER_LENGTH):
            parts = [rng.choice(words) for words in PATTERNS[kind]]
            # added words precede the last one: "Prazald Zerolt Bridge"
            parts[-1:-1] = [rng.choice(LAST_NAMES) for _ in range(extra)]
            name = " ".join(parts)
            if name not in taken and is_held_back_name(name) == held_back:
                taken.add(name)
                return name
        extra += 1
