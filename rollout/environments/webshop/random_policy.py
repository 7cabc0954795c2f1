"""A shopper with words and no aim: it needs something else at every turn, and says whether that is there.

Whatever its thoughts state is true, but nothing it does serves the wish. A model trained on such play knows the
language of the shop, copies names and ids, sees what a page offers, and has no policy.
"""

from __future__ import annotations

from rollout.environments.scripted import Move, ScriptedPolicy
from rollout.environments.webshop.belief_state import ParsedTask, View, read_page, read_wish
from rollout.environments.webshop.expert_policy import in_words
from rollout.environments.webshop.goods import OPTIONS, SORTS

_SAID = sorted({attribute for sort in SORTS for attribute in sort.attributes})


class RandomShopper(ScriptedPolicy):
    """Plays one episode at random.

    Its first thought names what the wish asks for, though nothing follows from it.

    Args:
        seed: of all it does.
        buys: chance of buying, each time that it could.
    """

    def __init__(self, seed: int = 0, buys: float = 0.1) -> None:
        super().__init__(seed)
        self._wish: ParsedTask | None = None
        self._buys = buys

    def _move(self, observation: str) -> Move:
        page = read_page(observation.rpartition("\nYour task is to: ")[0] or observation)
        if self._wish is None:
            self._wish = read_wish(observation)
        return self._decide(page, self._wish)

    def _decide(self, page: View, wish: ParsedTask) -> Move:
        if page.kind == "results":
            return self._at_results(page, wish)
        if page.kind == "item":
            return self._at_item(page)
        if page.kind == "features":
            return self._at_features(page)
        return self._search(wish)

    def _search(self, wish: ParsedTask) -> Move:
        """For some words of the wish, in any order."""
        parts = [wish.sort, *wish.attributes, *(value for _, value in wish.options)]
        words = ", ".join(self._rng.sample(parts, self._rng.randint(1, len(parts) - 1) if len(parts) > 1 else 1))
        return f"I need {in_words(wish)}. I search for {words}.", f"search[{words}]"

    def _at_results(self, page: View, wish: ParsedTask) -> Move:
        rng = self._rng
        if not page.offers or rng.random() < 0.1:
            return rng.choice((("I go back.", "click[back to search]"), ("I look further.", "click[next >]")))
        offer, need = rng.choice(page.offers), ""
        if offer.said:
            sort, said = offer.said
            attribute = rng.choice(said)
            # Of several that fit, the first one: then the words tell which product is meant.
            offer = next(o for o in page.offers if o.said and o.said[0] == sort and attribute in o.said[1])
            need = f"I need {sort} that is {attribute}. "
        dear = " It is too much." if offer.dollars > wish.limit else ""
        return f"{need}{offer.asin} costs {offer.price}.{dear} I open it.", f"click[{offer.asin}]"

    def _at_item(self, page: View) -> Move:
        rng, options = self._rng, page.options()
        if rng.random() < self._buys:
            return "I buy it.", "click[buy now]"
        if options and rng.random() < 0.6:
            name = rng.choice(list(options))
            value = rng.choice(options[name] if rng.random() < 0.7 else OPTIONS[name])
            if value in options[name]:
                return f"I need {name}: {value}. I choose {value}.", f"click[{value}]"
            return f"I need {name}: {value}. It is not here. I go back.", "click[< prev]"
        if rng.random() < 0.5:
            said = rng.choice([said for said in _SAID if not page.says(said)])
            return f"I need {said}. The title does not say it. I read the features.", "click[features]"
        name = rng.choice(("description", "features", "reviews", ""))
        return (f"I read the {name}.", f"click[{name}]") if name else ("I go back.", "click[< prev]")

    def _at_features(self, page: View) -> Move:
        """What the features say, or do not say."""
        rng = self._rng
        if self._last_action != "click[features]":
            return "I go back.", "click[< prev]"
        told = [said for said in _SAID if page.says(said)]
        if told and rng.random() < 0.5:
            return f"The features say {rng.choice(told)}. I go back.", "click[< prev]"
        missing = rng.choice([said for said in _SAID if said not in told])
        return f"I need {missing}. The features do not say it. I go back.", "click[< prev]"
