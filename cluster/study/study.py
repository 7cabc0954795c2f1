"""Execution of a study: several recipes over several seeds, each as an ordinary run, with one table of results.

    STUDY_DIR/
      study.yaml                        configuration of the study; `stillhouse study` accepts it
      [VARIANT/]seed=S/ARM/             a run directory
      [VARIANT/]seed=S/SHARED_RUN/      a run directory: episodes that several arms train on, or hints
      study.json  study.md              rewritten after every run

Seeds are the outer loop, so a study that is stopped early has every arm for fewer seeds. A study that is started again
skips finished runs and resumes the others. A failed arm is reported and does not stop the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cluster.config.settings import read_settings
from cluster.driver import run as drive
from cluster.run.claim import made_folder
from cluster.run.directory import DISK_FULL, lock, not_writable, open_run, refuse_foreign, translate_os_errors
from cluster.run.progress import Screen
from cluster.run.weights import check_models
from cluster.study.config import STUDY_FILE, Study, study_yaml
from cluster.study.markdown import study_markdown
from cluster.study.processes import process_pool
from cluster.study.results import Results, study_json
from cluster.study.runs import Job, is_finished, make_jobs
from rollout.errors import UserError
from rollout.storage.atomic import atomic_write_text

FIXED_SETTINGS = ("name", "recipe", "overrides", "all", "seed", "episodes")
"""Settings that must not change when a study is resumed. Arms and seeds may be added."""


def run_study(
    study: Study,
    folder: str | Path,
    *,
    address: str | None = None,
    max_parallel: int = 1,
    command: Sequence[str] = (),
    make_screen: Callable[[], Screen] = Screen,
) -> dict[str, Any]:
    """Execute the runs of a study that are not finished yet; returns the contents of study.json.

    Args:
        address: Ray cluster, as in `cluster.driver.run`.
        max_parallel: maximum number of parallel runs, each in its own process. With 1, runs are executed one after
            another in this process.
        command: command line of the user, recorded in study.json.
        make_screen: creates the screen of each run.

    Raises:
        UserError: if a recipe is wrong, or the folder belongs to another study or is in use by another process. Errors
            of a single run are recorded under ``failed`` instead.
    """
    folder = Path(folder).expanduser().absolute()
    jobs = make_jobs(study, folder)
    with open_study(study, folder):
        results = Results(study, jobs)
        pending = [job for job in jobs if not record_if_finished(job, results)]
        if len(pending) < len(jobs):
            make_screen().note(f"{len(jobs) - len(pending)} of {len(jobs)} runs are already finished")
        written = write_results(results, folder, command)
        if max_parallel > 1:
            recorded = run_in_parallel(pending, results, max_parallel, address, command, make_screen)
        else:
            recorded = run_sequentially(pending, results, address, command, make_screen)
        for _ in recorded:
            written = write_results(results, folder, command)
    return written


def run_sequentially(
    pending: Sequence[Job],
    results: Results,
    address: str | None,
    command: Sequence[str],
    make_screen: Callable[[], Screen],
) -> Iterator[Job]:
    """Execute the runs in this process; yields each after its result is recorded."""
    for number, job in enumerate(pending, start=1):
        make_screen().note(f"\n{results.study.name}: {job.title} ({number} of {len(pending)} runs)")
        run_job(job, results, address, command, make_screen)
        yield job


def run_in_parallel(
    pending: Sequence[Job],
    results: Results,
    max_parallel: int,
    address: str | None,
    command: Sequence[str],
    make_screen: Callable[[], Screen],
) -> Iterator[Job]:
    """Execute several runs in parallel, each after those it depends on; yields each after its result is recorded."""
    waiting, recorded = list(pending), 0
    with process_pool(max_parallel, address, command) as pool:
        while waiting or pool.running:
            unfinished = {job.folder for job in (*waiting, *(run.job for run in pool.running))}
            ready = next((job for job in waiting if unfinished.isdisjoint(job.depends_on)), None)
            if ready is not None and len(pool.running) < max_parallel:
                waiting.remove(ready)
                if (reason := results.blocked_reason(ready)) is None:
                    make_screen().note(f"{results.study.name}: {ready.title} starts")
                    pool.start(ready)
                    continue
                ended: list[tuple[Job, str | None]] = [(ready, reason)]
            else:
                ended = list(pool.wait_finished())
            for job, reason in ended:
                recorded += 1
                make_screen().note(f"{results.study.name}: {job.title} ({recorded} of {len(pending)} runs)")
                record_result(job, reason, results, make_screen)
                yield job


def record_result(job: Job, reason: str | None, results: Results, make_screen: Callable[[], Screen]) -> None:
    """Add an ended run to the results, as a failure if a ``reason`` is given."""
    if reason is None:
        results.add(job)
    else:
        make_screen().note(f"{job.title} failed: {reason}")
        results.add_failure(job, reason)


def default_study_directory(study: Study) -> Path:
    """``runs/study-NAME`` below the current folder, so that repeating the command resumes the study."""
    return Path("runs") / f"study-{study.name}"


@contextmanager
def open_study(study: Study, folder: Path) -> Iterator[None]:
    """Lock the folder of a study until the block ends, and write the study's configuration into it."""
    file = folder / STUDY_FILE
    with ExitStack() as stack:
        stack.enter_context(translate_os_errors(DISK_FULL, folder))
        with not_writable(folder, "--out"):
            stack.enter_context(made_folder(folder))
            refuse_foreign(folder, STUDY_FILE, "--out")
            stack.enter_context(lock(folder))
            if file.is_file():
                check_same_study(study, folder)
            atomic_write_text(file, study_yaml(study))
        yield


def check_same_study(study: Study, folder: Path) -> None:
    """Raise `UserError` if the folder belongs to a study with different runs."""
    saved = read_settings(folder / STUDY_FILE)
    wanted = study.model_dump(mode="json")
    if changed := [key for key in FIXED_SETTINGS if saved.get(key) != wanted[key]]:
        raise UserError(
            f"{folder} belongs to another study (it differs in {', '.join(changed)}); choose a new --out, or resume "
            f"the old study: stillhouse study {folder}"
        )


def record_if_finished(job: Job, results: Results) -> bool:
    """Record a run that is finished, or whose folder belongs to another recipe; returns whether it was recorded."""
    try:
        if not is_finished(job):
            return False
    except UserError as error:
        results.add_failure(job, str(error))
        return True
    results.add(job)
    return True


def run_job(
    job: Job, results: Results, address: str | None, command: Sequence[str], make_screen: Callable[[], Screen]
) -> None:
    """Execute one run and record its result or the reason why it failed."""
    reason = results.blocked_reason(job)
    try:
        if reason is None:
            check_models(job.recipe)
            with open_run(job.folder, job.recipe, command) as directory, make_screen().display() as screen:
                drive(job.recipe, directory, address=address, phases=job.phases, screen=screen)
    except UserError as error:
        reason = str(error)
    record_result(job, reason, results, make_screen)


def write_results(results: Results, folder: Path, command: Sequence[str]) -> dict[str, Any]:
    """Write study.json and study.md with the results so far; each file is replaced atomically."""
    found = study_json(results, command)
    atomic_write_text(folder / "study.json", json.dumps(found, indent=2, allow_nan=False) + "\n")
    atomic_write_text(folder / "study.md", study_markdown(found))
    return found
