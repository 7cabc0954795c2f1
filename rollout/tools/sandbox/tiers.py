"""Finds the tiers that work on this machine by trying them, and chooses one."""

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
    Tier.BUBBLEWRAP: "model-written code runs in bubblewrap, with namespaces, seccomp and limits for each episode",
    Tier.UNSHARE: "model-written code runs in namespaces created without bubblewrap, with seccomp and limits for each "
    "episode",
}


class WeakSandboxWarning(UserWarning):
    """The sandbox in use hides less of the machine than it should."""


@dataclass(frozen=True, slots=True)
class TierStatus:
    """A tier and the reason why it does not work on this machine; empty if it works."""

    tier: Tier
    reason: str = ""

    @property
    def works(self) -> bool:
        return not self.reason


@cache
def available_tiers() -> tuple[TierStatus, ...]:
    """All tiers, strongest first. Each is tried once per process (about 0.2 s)."""
    return tuple(TierStatus(tier, _probe_error(tier)) for tier in Tier)


def choose_tier(config: SandboxConfig) -> Tier:
    """Choose a tier that works. Warns (`WeakSandboxWarning`) if it is ``rlimits``.

    Raises:
        UserError: the configured tier does not work on this machine, or only the weak one does and is not allowed.
    """
    wanted = list(Tier)[:2] if config.tier == "auto" else [Tier(config.tier)]
    if config.allow_weak and config.tier == "auto":
        wanted.append(Tier.RLIMITS)
    if config.tier == "rlimits" and not config.allow_weak:
        raise UserError(f"tier rlimits is weak ({_weakness()}); set allow_weak: true to use it anyway")
    faults = []
    for tier in wanted:
        status = available_tiers()[list(Tier).index(tier)]
        if status.works:
            if tier is Tier.RLIMITS:
                warnings.warn(tier_sentence(tier), WeakSandboxWarning, stacklevel=2)
            return tier
        faults.append(f"{tier}: {status.reason}")
    raise UserError(
        f"no sandbox for model-written code works here ({'; '.join(faults)}); install bubblewrap and allow user "
        "namespaces, or set allow_weak: true with tier: auto for a weaker one"
    )


def tier_sentence(tier: Tier) -> str:
    """Describe a tier for the doctor's or a run's report."""
    return _SENTENCES.get(tier) or f"WEAK SANDBOX: model-written code runs without namespaces: {_weakness()}"


def open_sandbox(config: SandboxConfig) -> Sandbox:
    """Create a sandbox in the tier that `choose_tier` returns. It starts with its first session. Raises `UserError`."""
    return Sandbox(config, choose_tier(config))


_shared: dict[tuple[int, SandboxConfig], Sandbox] = {}
_lock = Lock()


def shared_sandbox(config: SandboxConfig) -> Sandbox:
    """Return this process's shared sandbox with these settings, closed at exit. Raises `UserError`."""
    key = os.getpid(), config
    with _lock:
        if key not in _shared:
            _shared[key] = open_sandbox(config)
            atexit.register(_shared[key].close)
        return _shared[key]


def _probe_error(tier: Tier) -> str:
    """The reason why this tier cannot run code on this machine; empty if it can."""
    try:
        with Sandbox(_PROBE, tier) as sandbox, sandbox.session() as session:
            result = session.run("1 + 1")
            return "" if result.value == "2" else f"it does not run code ({result.error})"
    except (SandboxError, UserError, OSError) as error:
        return str(error)


def _weakness() -> str:
    confined = "it can see which files and processes exist, but can open only its own (Landlock)"
    return confined if landlock.version() else "it can read all files that this user can read"
