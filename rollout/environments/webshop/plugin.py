"""The shop under its name."""

from __future__ import annotations

from rollout.environment import Environment, TaskSource
from rollout.environments.demonstrate import Played
from rollout.environments.webshop.demonstrations import TOOLS, shop_demonstrations
from rollout.environments.webshop.environment import ShopConfig, ShopEnvironment, shop_tasks
from rollout.environments.webshop.instructions import INSTRUCTIONS


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
