"""A random policy: each thought names a random need and states whether the page meets it.

Its thoughts are true, but its actions ignore the task. A model trained on its episodes learns the language of the
environment, copies names and ids and reads pages, without learning to solve tasks.
"""

from __future__ import annotations

from rollout.environments.scripted import Move, ScriptedPolicy
from rollout.environments.webshop.belief_state import ParsedTask, View, read_page, read_task
from rollout.environments.webshop.expert_policy import format_task
from rollout.environments.webshop.goods import OPTIONS, PRODUCT_TYPES

_SAID = sorted({attribute for product_type in PRODUCT_TYPES for attribute in product_type.attributes})


class WebShopRandomPolicy(ScriptedPolicy):
    """Acts at random in one WebShop episode.

    Its first thought states the task; later actions ignore it.

    Args:
        seed: seed of all random choices.
        buys: probability of buying on each product page.
    """

    def __init__(self, seed: int = 0, buys: float = 0.1) -> None:
        super().__init__(seed)
        self._task: ParsedTask | None = None
        self._buys = buys

    def _move(self, observation: str) -> Move:
        self._task = self._task or read_task(observation)
        page = read_page(observation)
        moves = {"results": self._at_results, "item": self._at_item, "features": self._at_features}
        return moves.get(page.kind, self._search)(page, self._task)

    def _search(self, page: View, task: ParsedTask) -> Move:
        """Search for random words of the task."""
        parts = [task.product_type, *task.attributes, *(value for _, value in task.options)]
        words = ", ".join(self._rng.sample(parts, self._rng.randint(1, len(parts) - 1) if len(parts) > 1 else 1))
        return f"I need {format_task(task)}. I search for {words}.", f"search[{words}]"

    def _at_results(self, page: View, task: ParsedTask) -> Move:
        rng = self._rng
        if not page.offers or rng.random() < 0.1:
            return rng.choice((("I go back.", "click[back to search]"), ("I look further.", "click[next >]")))
        offer, need = rng.choice(page.offers), ""
        if offer.title_parts:
            product_type, said = offer.title_parts
            attribute = rng.choice(said)
            # The first match, so that the words identify the product.
            titles = ((other, other.title_parts) for other in page.offers)
            offer = next(
                other for other, parts in titles if parts and parts[0] == product_type and attribute in parts[1]
            )
            need = f"I need {product_type} that is {attribute}. "
        dear = " It is too much." if offer.dollars > task.limit else ""
        return f"{need}{offer.asin} costs {offer.price}.{dear} I open it.", f"click[{offer.asin}]"

    def _at_item(self, page: View, task: ParsedTask) -> Move:
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
            said = rng.choice([said for said in _SAID if not page.contains(said)])
            return f"I need {said}. The title does not say it. I read the features.", "click[features]"
        name = rng.choice(("description", "features", "reviews", ""))
        return (f"I read the {name}.", f"click[{name}]") if name else ("I go back.", "click[< prev]")

    def _at_features(self, page: View, task: ParsedTask) -> Move:
        """A thought about what the features contain or lack."""
        rng = self._rng
        if self._last_action != "click[features]":
            return "I go back.", "click[< prev]"
        told = [said for said in _SAID if page.contains(said)]
        if told and rng.random() < 0.5:
            return f"The features say {rng.choice(told)}. I go back.", "click[< prev]"
        missing = rng.choice([said for said in _SAID if said not in told])
        return f"I need {missing}. The features do not say it. I go back.", "click[< prev]"
