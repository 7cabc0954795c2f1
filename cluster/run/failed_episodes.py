"""Episodes of a step that failed: those that are still owed, and those that were given up. Kept outside of the store.

    RUN_DIR/
      owed/<step>.jsonl         episodes that the same command tries again
      tombstones/<step>.jsonl   episodes that are given up; without the file they are tried again

Each line is one episode: its identity, its last failure and the number of attempts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rollout.errors import Cause, Failure, UserError
from rollout.storage.atomic import atomic_write_text
from rollout.trajectory import Identity, Key, Trajectory, failed_episode
from rollout.trajectory.store import TrajectoryStore

KILLS_WORKERS = "KillsWorkers"
"""Type of the failure of an episode whose workers died, when no other episode explains that."""


class IncompleteError(UserError):
    """Episodes of a run were not completed. What is finished is kept, and the same command goes on."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class FailedEpisode:
    """An episode that failed in all attempts so far.

    Attributes:
        failure: the last failure.
        attempts: number of attempts, over all starts of the run.
        counted: attempts after which another episode of the step was completed, so that only the task explains them.
    """

    identity: Identity
    failure: Failure
    attempts: int = 1
    counted: int = 0
    time_unix_s: float = field(default_factory=time.time)

    def summary(self) -> Trajectory:
        """The episode as a record without segments."""
        return failed_episode(self.identity, self.failure)


class FailedEpisodes:
    """The failed episodes of one step, in the folder of a run.

    Args:
        run_dir: folder of the run.
        step: name of the step.
        source: name of the step whose episodes this one is made from; what is given up there is given up here.
    """

    def __init__(self, run_dir: Path, step: str, source: str = "") -> None:
        name = f"{step.replace('/', '-')}.jsonl"
        self.owed_file = run_dir / "owed" / name
        self.tombstone_file = run_dir / "tombstones" / name
        self.source = FailedEpisodes(run_dir, source) if source else None

    def owed(self) -> dict[Key, FailedEpisode]:
        """Episodes that are tried again. Some may have been completed since. Raises `UserError` for a damaged file."""
        return _read(self.owed_file)

    def tombstones(self) -> dict[Key, FailedEpisode]:
        """Episodes that are given up. Raises `UserError` for a damaged file."""
        return {**(self.source.tombstones() if self.source else {}), **_read(self.tombstone_file)}

    def all(self) -> Iterator[tuple[FailedEpisode, bool]]:
        """All failed episodes, and whether each one is given up."""
        tombstones = self.tombstones()
        yield from ((episode, True) for episode in tombstones.values())
        yield from ((episode, False) for key, episode in self.owed().items() if key not in tombstones)

    def write(self, owed: Mapping[Key, FailedEpisode], tombstones: Mapping[Key, FailedEpisode]) -> None:
        """Replace both files; a file without episodes is removed. Tombstones of the source stay in its own file."""
        inherited = self.source.tombstones() if self.source else {}
        _write(self.tombstone_file, {key: tombstones[key] for key in tombstones.keys() - inherited.keys()})
        _write(self.owed_file, owed)


def owed_in(store: TrajectoryStore) -> dict[Key, FailedEpisode]:
    """Episodes that an older version stored although they are owed."""
    return {
        summary.key: FailedEpisode(summary.identity, failure, time_unix_s=summary.times.started_unix_s)
        for summary in store.owed()
        if (failure := summary.outcome.failure)
    }


def _read(file: Path) -> dict[Key, FailedEpisode]:
    if not file.is_file():
        return {}
    try:
        episodes = [_parse(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}); delete it, and its episodes are tried again.") from error
    return {episode.identity.key: episode for episode in episodes}


def _parse(line: str) -> FailedEpisode:
    row = json.loads(line)
    failure = {**row["failure"], "cause": Cause(row["failure"]["cause"])}
    return FailedEpisode(**{**row, "identity": Identity(**row["identity"]), "failure": Failure(**failure)})


def _write(file: Path, episodes: Mapping[Key, FailedEpisode]) -> None:
    if not episodes:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(exist_ok=True)
    atomic_write_text(file, "".join(json.dumps(asdict(episodes[key])) + "\n" for key in sorted(episodes)))
