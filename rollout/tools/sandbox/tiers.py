"""Which tiers work on this machine, found by trying them, and which one is in force."""

from __future__ import annotations

import atexit
import os
import warnings
from dataclasses import dataclass
from functools import cache
from threading import Lock

from rollout.errors import UserError
from rollout.tools.sandbox.config import SandboxConfig, Tier
from rollout.tools.sandbox.errors import SandboxError
from rollout.tools.sandbox.inside import landlock
from rollout.tools.sandbox.sandbox import Sandbox

_PROBE = SandboxConfig(packages=(), preload=())
_SENTENCES = {
    Tier.BUBBLEWRAP: "model-written code runs in bubblewrap with namespaces, seccomp and limits of each episode's own",
    Tier.UNSHARE: "model-written code runs in namespaces made without bubblewrap, with seccomp and limits of each "
    "episode's own",
}


class WeakSandboxWarning(UserWarning):
    """The sandbox in force hides less of the machine than it should."""


@dataclass(frozen=True, slots=True)
class TierStatus:
    """A tier, and why it does not work here; ``reason`` is empty if it does."""

    tier: Tier
    reason: str = ""

    @property
    def works(self) -> bool:
        return not self.reason


@cache
def available_tiers() -> tuple[TierStatus, ...]:
    """All tiers, the strongest first, each tried once a process (about 0.2 s)."""
    return tuple(TierStatus(tier, _fault(tier)) for tier in Tier)


def choose_tier(config: SandboxConfig) -> Tier:
    """The tier in force. Warns (`WeakSandboxWarning`) if it is ``rlimits``.

    Raises:
        UserError: the wanted tier does not work here, or only the weak one does and it is not allowed.
    """
    wanted = list(Tier)[:2] if config.tier == "auto" else [Tier(config.tier)]
    if config.allow_weak and config.tier == "auto":
        wanted.append(Tier.RLIMITS)
    if config.tier == "rlimits" and not config.allow_weak:
        raise UserError(f"tier rlimits is weak ({_weakness()}); set allow_weak: true to use it all the same")
    faults = []
    for tier in wanted:
        status = available_tiers()[list(Tier).index(tier)]
        if status.works:
            return _announced(tier)
        faults.append(f"{tier}: {status.reason}")
    raise UserError(
        f"no sandbox for model-written code works here ({'; '.join(faults)}); install bubblewrap and allow user "
        "namespaces, or set allow_weak: true with tier: auto for a weaker one"
    )


def tier_sentence(tier: Tier) -> str:
    """What is in force, in words for a doctor's or a run's report."""
    return _SENTENCES.get(tier) or f"WEAK SANDBOX: model-written code runs without namespaces: {_weakness()}"


def open_sandbox(config: SandboxConfig) -> Sandbox:
    """A sandbox in the tier that `choose_tier` gives; it starts with its first session. Raises `UserError`."""
    return Sandbox(config, choose_tier(config))


_shared: dict[tuple[int, SandboxConfig], Sandbox] = {}
_lock = Lock()


def shared_sandbox(config: SandboxConfig) -> Sandbox:
    """This process's one sandbox of these settings, closed when the process ends. Raises `UserError`."""
    key = os.getpid(), config
    with _lock:
        if key not in _shared:
            _shared[key] = open_sandbox(config)
            atexit.register(_shared[key].close)
        return _shared[key]


def _fault(tier: Tier) -> str:
    """Why this tier cannot run a piece of code here; empty if it can."""
    try:
        with Sandbox(_PROBE, tier) as sandbox, sandbox.session() as session:
            result = session.run("1 + 1")
            return "" if result.value == "2" else f"it does not run code ({result.error})"
    except (SandboxError, UserError, OSError) as error:
        return str(error)


def _announced(tier: Tier) -> Tier:
    if tier is Tier.RLIMITS:
        warnings.warn(tier_sentence(tier), WeakSandboxWarning, stacklevel=3)
    return tier


def _weakness() -> str:
    if landlock.version():
        return "it can see which files and processes exist, though it can open none but its own (Landlock)"
    return "it can read all files that this user can read"
