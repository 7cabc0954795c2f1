"""A study: recipes by seeds, each an ordinary run in a folder of its own, and one table of them all.

    STUDY_DIR/
      study.yaml                        the study as it was asked for; can itself be given to `stillhouse study`
      [VARIANT/]seed=S/ARM/             a run directory
      [VARIANT/]seed=S/SHARED_RUN/      a run directory: episodes that several arms train on, or hints
      study.json  study.md              rewritten after every arm

Seeds are the outer loop, so a study that is stopped early has all arms at fewer seeds. Runs resume by themselves, and
so does the study: started again, it leaves out what is finished. An arm that fails is reported, and the others go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from cluster.driver import run as drive
from cluster.run.directory import FORBIDDEN, FULL, lock, open_run, plain_os_errors
from cluster.run.progress import Screen
from cluster.run.weights import check_models
from cluster.study.config import STUDY_FILE, Study, study_yaml
from cluster.study.markdown import study_markdown
from cluster.study.processes import processes
from cluster.study.results import Results, study_json
from cluster.study.runs import Job, is_finished, make_jobs
from rollout.errors import UserError
from rollout.storage.atomic import atomic_write_text

SETTLED = ("name", "recipe", "overrides", "all", "seed", "episodes")
"""What may not change when a study is taken up again; arms and seeds may be added."""


def run_study(
    study: Study,
    folder: str | Path,
    *,
    address: str | None = None,
    at_once: int = 1,
    command: Sequence[str] = (),
    make_screen: Callable[[], Screen] = Screen,
) -> dict[str, Any]:
    """Do the runs of a study that are not finished yet; returns what study.json holds.

    Args:
        address: as of `cluster.driver.run`.
        at_once: runs side by side, each in a process of its own; 1 does them here, one after the other.
        command: what the user typed, to be written down.
        make_screen: gives one to each run.

    Raises:
        UserError: a recipe is wrong, or the folder belongs to another study or to a process that works in it. What goes
            wrong in a run later is kept under ``failed``.
    """
    folder = Path(folder).expanduser().absolute()
    jobs = make_jobs(study, folder)
    with held(study, folder):
        results = Results(study, jobs)
        todo = [job for job in jobs if not take_finished(job, results)]
        if len(todo) < len(jobs):
            make_screen().note(f"{len(jobs) - len(todo)} of {len(jobs)} runs are there already")
        written = write(results, folder, command)
        if at_once > 1:
            settled = side_by_side(todo, results, at_once, address, command, make_screen)
        else:
            settled = one_by_one(todo, results, address, command, make_screen)
        for _ in settled:
            written = write(results, folder, command)
    return written


def one_by_one(
    todo: Sequence[Job],
    results: Results,
    address: str | None,
    command: Sequence[str],
    make_screen: Callable[[], Screen],
) -> Iterator[Job]:
    """Do the runs here; gives each when it is in the results."""
    for number, job in enumerate(todo, start=1):
        make_screen().note(f"\n{results.study.name}: {job.title} ({number} of {len(todo)} runs)")
        carry_out(job, results, address, command, make_screen)
        yield job


def side_by_side(
    todo: Sequence[Job],
    results: Results,
    at_once: int,
    address: str | None,
    command: Sequence[str],
    make_screen: Callable[[], Screen],
) -> Iterator[Job]:
    """Do several runs at once, none before those that it builds on; gives each when it is in the results."""
    waiting, settled = list(todo), 0
    with processes(at_once, address, command) as runs:
        while waiting or runs.running:
            coming = {job.folder for job in (*waiting, *(run.job for run in runs.running))}
            ready = next((job for job in waiting if coming.isdisjoint(job.needs)), None)
            if ready is not None and not runs.are_full:
                waiting.remove(ready)
                if (sentence := why_not(ready, results)) is None:
                    make_screen().note(f"{results.study.name}: {ready.title} begins")
                    runs.start(ready)
                    continue
                ended: list[tuple[Job, str | None]] = [(ready, sentence)]
            else:
                ended = list(runs.settle())
            for job, sentence in ended:
                settled += 1
                make_screen().note(f"{results.study.name}: {job.title} ({settled} of {len(todo)} runs)")
                settle(job, sentence, results, make_screen)
                yield job


def why_not(job: Job, results: Results) -> str | None:
    """Why a run cannot be begun; None if it can."""
    try:
        results.require(job)
    except UserError as error:
        return str(error)
    return None


def settle(job: Job, sentence: str | None, results: Results, make_screen: Callable[[], Screen]) -> None:
    """Take a run that is over into the results."""
    if sentence is None:
        results.take(job)
    else:
        make_screen().note(f"{job.title} failed: {sentence}")
        results.fail(job, sentence)


def default_study_directory(study: Study) -> Path:
    """``runs/study-NAME`` below the current folder, so that the same command goes on."""
    return Path("runs") / f"study-{study.name}"


@contextmanager
def held(study: Study, folder: Path) -> Iterator[None]:
    """Hold the folder of a study alone, with the study written down in it."""
    file = folder / STUDY_FILE
    with ExitStack() as stack:
        stack.enter_context(plain_os_errors(FULL, folder))
        with plain_os_errors(FORBIDDEN, folder):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(folder))
            if file.is_file():
                refuse_other_study(study, folder)
            elif foreign := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
                raise UserError(f"{folder} holds {foreign[0]} but no {STUDY_FILE}; give --out a new or empty folder.")
            atomic_write_text(file, study_yaml(study))
        yield


def refuse_other_study(study: Study, folder: Path) -> None:
    """Raise `UserError` if the folder holds a study whose runs are others."""
    saved = yaml.safe_load((folder / STUDY_FILE).read_text(encoding="utf-8"))
    wanted = study.model_dump(mode="json")
    if changed := [key for key in SETTLED if saved.get(key) != wanted[key]]:
        raise UserError(
            f"{folder} holds another study (it differs in {', '.join(changed)}); take a new --out, or go on with the "
            f"old one: stillhouse study {folder}"
        )


def take_finished(job: Job, results: Results) -> bool:
    """Take a run that is finished into the results, or one whose folder is another recipe's; say whether it was."""
    try:
        if not is_finished(job):
            return False
    except UserError as error:
        results.fail(job, str(error))
        return True
    results.take(job)
    return True


def carry_out(
    job: Job, results: Results, address: str | None, command: Sequence[str], make_screen: Callable[[], Screen]
) -> None:
    """Do one run, or write down why it cannot be done."""
    try:
        results.require(job)
        check_models(job.recipe)
        with open_run(job.folder, job.recipe, command) as directory, make_screen().shown() as screen:
            drive(job.recipe, directory, address=address, phases=job.phases, screen=screen)
    except UserError as error:
        settle(job, str(error), results, make_screen)
    else:
        settle(job, None, results, make_screen)


def write(results: Results, folder: Path, command: Sequence[str]) -> dict[str, Any]:
    """Write study.json and study.md of what there is so far, each whole or not at all."""
    found = study_json(results, command)
    atomic_write_text(folder / "study.json", json.dumps(found, indent=2, allow_nan=False) + "\n")
    atomic_write_text(folder / "study.md", study_markdown(found))
    return found
