"""The child process of `rollout.environments.household.alfworld_engine`: hosts the original engine.

It exchanges JSON lines over its pipes. It is started by file name, so it imports nothing from this project. Requests:
``{"game": path}`` starts a game, ``{"action": text}`` executes a step. Answers: ``{"observation", "admissible", "won",
"cpu_s"}`` or ``{"error"}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import Any, TextIO


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    answers = _private_stdout()
    textworld: Any = import_module("textworld")
    demangler: Any = import_module("alfworld.agents.environment.alfred_tw_env").AlfredDemangler
    environment: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "game" in request:
                wanted = textworld.EnvInfos(won=True, admissible_commands=True)
                environment = textworld.start(request["game"], wanted, wrappers=[demangler()])
                state = environment.reset()
            else:
                state = environment.step(request["action"])[0]
            answer = _answer(state)
        except Exception as error:  # reported to the parent, which raises its own exception
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(state: Any) -> dict[str, object]:
    return {
        "observation": state.feedback,
        "admissible": list(state["admissible_commands"]),
        "won": bool(state["won"]),
        "cpu_s": time.process_time(),
    }


def _private_stdout() -> TextIO:
    """Reserve the pipe for answers to the parent; output of the engine goes to stderr."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


if __name__ == "__main__":
    main()
