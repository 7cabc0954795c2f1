"""What a user can name in a command or a recipe."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.config.field_path import suggest
from cluster.config.load import RECIPES, read_settings, recipe_names
from cluster.study.config import STUDIES, study_names
from rollout.errors import UserError


def lines(what: str) -> Iterator[str]:
    """One line an entry: name and what it is. Raises `UserError` for an unknown kind of thing."""
    listings = {
        "recipes": _recipes,
        "studies": _studies,
        "environments": _environments,
        "tools": _tools,
        "engines": _engines,
    }
    if what not in listings:
        near = suggest(what, listings)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"there is no list of {what}; {hint}choose one of {', '.join(listings)}.")
    entries = listings[what]()
    width = max((len(name) for name in entries), default=0)
    return (f"{name:<{width}}  {text}".rstrip() for name, text in sorted(entries.items()))


def _recipes() -> dict[str, str]:
    return {
        name: str(read_settings(RECIPES / f"{name}.yaml").get("description", "")).strip() for name in recipe_names()
    }


def _studies() -> dict[str, str]:
    return {name: str(read_settings(STUDIES / f"{name}.yaml").get("description", "")).strip() for name in study_names()}


def _environments() -> dict[str, str]:
    from rollout.environments.plugins import environments

    return {name: _first_line(made) for name, made in environments().items()}


def _tools() -> dict[str, str]:
    from rollout.environments.plugins import environments, tools_of
    from rollout.environments.wrappers.search import SEARCH

    functions = {
        f"{name} {tool.name}": tool.description for name, kind in environments().items() for tool in tools_of(kind)
    }
    return functions | {
        "python": "runs code in a sandbox, one interpreter an episode: in style codeact, or math with python",
        SEARCH.name: f"{SEARCH.description}; the section retrieval of a recipe",
    }


def _engines() -> dict[str, str]:
    from rollout.factory import engines

    return {name: _first_line(made) for name, made in engines().items()}


def _first_line(thing: object) -> str:
    """The first sentence of a docstring."""
    return (thing.__doc__ or "").strip().partition("\n")[0]
