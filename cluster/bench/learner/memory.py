"""Resident memory of this process, and a limit on it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

MIB = 2**20
_STATUS = Path("/proc/self/status")


def rss_mib() -> float:
    """Resident memory now. Where the system does not report it, the peak so far."""
    return _status_mib("VmRSS") if _STATUS.is_file() else peak_rss_mib()


def peak_rss_mib() -> float:
    """The largest resident memory so far.

    Linux's ``ru_maxrss`` also contains the memory of the process that started this one, so its ``VmHWM`` is read there.
    """
    if _STATUS.is_file():
        return _status_mib("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)


def limit_address_space(extra_mib: float) -> None:
    """Let this process allocate ``extra_mib`` more than it has; a further allocation fails. Only on Linux."""
    if _STATUS.is_file():
        allowed = int((_status_mib("VmSize") + extra_mib) * MIB)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _status_mib(name: str) -> float:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    return int(lines[name].split()[0]) / 1024
