"""The shop under its name."""

from __future__ import annotations

from rollout.environment import Environment, TaskSource
from rollout.prompts.demonstrate import Played
from rollout.shop.demonstration import TOOLS, shop_demonstrations
from rollout.shop.environment import ShopConfig, ShopEnvironment, shop_tasks
from rollout.shop.instructions import INSTRUCTIONS


class Shop:
    """Shopping by WebShop's pages, search and reward, in generated catalogues or WebShop's own."""

    Config = ShopConfig
    instructions = INSTRUCTIONS
    examples = Played(shop_demonstrations)
    tools = TOOLS

    @staticmethod
    def environment(config: ShopConfig) -> Environment:
        return ShopEnvironment(config)

    @staticmethod
    def tasks(config: ShopConfig) -> TaskSource:
        return shop_tasks(config)
