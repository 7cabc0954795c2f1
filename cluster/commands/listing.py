"""Implementation of ``stillhouse list``: names that can be used in a command or a recipe."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.config.load import RECIPES, recipe_names
from cluster.config.settings import read_settings
from cluster.study.config import STUDIES, study_names
from rollout.errors import UserError
from rollout.messages import choose_one_of


def lines(what: str) -> Iterator[str]:
    """Yield one line per entry with its name and description. Raises `UserError` if there is no such list."""
    listings = {
        "recipes": _recipes,
        "studies": _studies,
        "environments": _environments,
        "tools": _tools,
        "engines": _engines,
        "divergences": _divergences,
    }
    if what not in listings:
        raise UserError(f"there is no list of {what}; {choose_one_of(what, listings)}")
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
    from rollout.environments.plugins import ENVIRONMENTS

    found = ENVIRONMENTS.load_each().items()
    return {name: _error(made) if isinstance(made, UserError) else made.description for name, made in found}


def _tools() -> dict[str, str]:
    from rollout.environments.plugins import working_plugins
    from rollout.environments.wrappers.search import SEARCH
    from rollout.prompts.tool import TOOLS

    functions: dict[str, str] = {}
    for name, plugin in working_plugins().items():
        try:
            functions |= {f"{name} {tool.name}": tool.description for tool in plugin.load_tools()}
        except UserError as error:
            functions[name] = _error(error)
    added = {
        name: _error(tool) if isinstance(tool, UserError) else f"{tool.description}; agent.tools of a recipe"
        for name, tool in TOOLS.load_each().items()
    }
    return functions | {
        "python": "runs code in a sandbox, one interpreter per episode; used by style codeact and math with python",
        SEARCH.name: f"{SEARCH.description}; the section retrieval of a recipe",
        **added,
    }


def _engines() -> dict[str, str]:
    from rollout.engines.config import ENGINES

    return {name: _first_line(made) for name, made in ENGINES.load_each().items()}


def _divergences() -> dict[str, str]:
    from learner.terms import BUILT_IN_TERMS, DIVERGENCES

    own: dict[str, str] = {name: _first_line(term) for name, term in BUILT_IN_TERMS.items()}
    return own | {name: _first_line(made) for name, made in DIVERGENCES.load_each(built_in=False).items()}


def _first_line(thing: object) -> str:
    """The first line of a docstring, or the message of an error."""
    if isinstance(thing, UserError):
        return _error(thing)
    return (thing.__doc__ or "").strip().partition("\n")[0]


def _error(error: UserError) -> str:
    return f"cannot be used: {error}"
