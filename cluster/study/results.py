"""Results of a study's runs, written as study.json."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from cluster.run.directory import RunDirectory
from cluster.run.plan_file import read_plan
from cluster.run.provenance import hardware, versions
from cluster.study.config import Comparison, Study
from cluster.study.markdown import arm_label
from cluster.study.runs import Job
from evaluation.metrics import PairedDifference
from evaluation.records import EpisodeRecord, by_environment, completed, completed_by_all, episode_record, failed_keys
from evaluation.seeds import BySeed, arm_figures, order_steps, study_differences


@dataclass(frozen=True, slots=True)
class ArmRun:
    """Results of one finished run of an arm; ``train_*`` and ``optimizer_steps`` are 0 if nothing is trained."""

    records: Sequence[EpisodeRecord]
    train_tokens: int
    train_seconds: float
    optimizer_steps: int


class Results:
    """Results collected so far: finished runs of arms, and the reason of each failure."""

    def __init__(self, study: Study, jobs: Sequence[Job]) -> None:
        self.study = study
        self.jobs = jobs
        self.runs: dict[tuple[str, str], dict[int, ArmRun]] = defaultdict(dict)
        """Finished runs by (variant, arm), then by seed."""
        self.failures: dict[Path, str] = {}
        self.finished = 0
        self.revisions: set[str] = set()
        """Git revisions of the code that made the runs; a resumed study may have several."""

    def add(self, job: Job) -> None:
        """Add a finished run."""
        self.finished += 1
        self.revisions.add(RunDirectory(job.folder).manifest().get("git_revision") or "unknown")
        if job.agent is not None:
            self.runs[job.variant, job.name][job.seed] = read_run(job)

    def add_failure(self, job: Job, sentence: str) -> None:
        self.failures[job.folder] = sentence

    def blocked_reason(self, job: Job) -> str | None:
        """The reason why a run cannot be started: one that it depends on has failed. None if it can."""
        failed = (folder for folder in job.depends_on if folder in self.failures)
        return next((f"it depends on {folder.name}, which failed: {self.failures[folder]}" for folder in failed), None)

    def episodes_by_environment(self, variant: str) -> dict[str, dict[str, BySeed]]:
        """Episodes of a variant by environment, arm and seed."""
        found: dict[str, dict[str, dict[int, list[EpisodeRecord]]]] = {}
        for (run_variant, arm), runs in self.runs.items():
            for seed, run in runs.items() if run_variant == variant else ():
                for environment, records in by_environment(run.records).items():
                    if not completed(records):
                        continue
                    found.setdefault(environment, {}).setdefault(arm, {})[seed] = records
        return {environment: dict(arms) for environment, arms in sorted(found.items())}


def read_run(job: Job) -> ArmRun:
    """Read the results of a finished run of an arm from its folder."""
    run = RunDirectory(job.folder)
    evaluated = (step for step in read_plan(run).of_kind("evaluate") if step.role == job.agent)
    records = [episode_record(summary) for step in evaluated for summary in step.episodes(run).summaries()]
    trained = {row["round"]: row for row in run.read_metrics() if row.get("kind") == "trained"}.values()
    return ArmRun(
        records,
        train_tokens=sum(row["tokens"] for row in trained),
        train_seconds=sum(row["seconds"] for row in trained),
        optimizer_steps=sum(row["steps"] for row in trained),
    )


def study_json(results: Results, command: Sequence[str]) -> dict[str, Any]:
    """The contents of study.json. Rates are fractions between 0 and 1; counts are means per episode."""
    study = results.study
    arms: dict[str, dict[str, Any]] = defaultdict(dict)
    comparisons, steps = list[dict[str, Any]](), list[dict[str, Any]]()
    for variant in study.selected_variants:
        for environment, episodes in results.episodes_by_environment(variant).items():
            for arm in [name for name in study.arms if name in episodes]:
                arms[arm_label(arm, variant)][environment] = arm_metrics(episodes[arm])
            paired, dropped = pair_arms(episodes)
            for pair in study.comparisons:
                rows = comparison_rows(pair, paired, environment, variant)
                comparisons += [{**row, "n_dropped": dropped} for row in rows]
            steps += order_rows(study, paired, environment, variant)
    return {
        "name": study.name,
        "description": study.description,
        "command": shlex.join(command),
        "versions": versions(),
        "hardware": hardware(),
        "git_revisions": sorted(results.revisions),
        "seeds": list(study.all_seeds),
        "runs": {"finished": results.finished, "planned": len(results.jobs)},
        "asked": {variant: study.selected_arms(variant) for variant in study.selected_variants},
        "arms": dict(arms),
        "training": {arm_label(arm, variant): training_means(runs) for (variant, arm), runs in results.runs.items()},
        "comparisons": comparisons,
        "order": steps,
        "paper": {
            **study.paper.model_dump(),
            "order": list(study.order),
            "figures": [figure.model_dump() for figure in study.paper_figures],
        },
        "failed": [
            {"arm": job.name, "variant": job.variant, "seed": job.seed, "why": results.failures[job.folder]}
            for job in results.jobs
            if job.folder in results.failures
        ],
    }


def pair_arms(episodes: Mapping[str, BySeed]) -> tuple[dict[str, BySeed], int]:
    """The episodes of all arms without those that some arm did not complete, and the number of the latter."""
    paired: dict[str, dict[int, Sequence[EpisodeRecord]]] = {arm: {} for arm in episodes}
    dropped = 0
    for seed in sorted({seed for by_seed in episodes.values() for seed in by_seed}):
        groups = {arm: by_seed[seed] for arm, by_seed in episodes.items() if seed in by_seed}
        dropped += len(failed_keys(groups.values()))
        for arm, records in zip(groups, completed_by_all(groups.values()), strict=True):
            paired[arm][seed] = records
    return {**paired}, dropped


def arm_metrics(episodes: BySeed) -> dict[str, Any]:
    """Evaluation figures of one arm in one environment."""
    found = arm_figures(episodes)
    interval = None if found.success_ci95 is None else list(found.success_ci95)
    return {**found.means, "success_ci95": interval, "n": found.n, "errors": found.errors, "seeds": found.seeds}


def training_means(runs: Mapping[int, ArmRun]) -> dict[str, Any]:
    """Training figures of one arm, averaged over its seeds."""
    return {
        "train_tokens": fmean(run.train_tokens for run in runs.values()),
        "train_seconds": round(fmean(run.train_seconds for run in runs.values()), 1),
        "optimizer_steps": fmean(run.optimizer_steps for run in runs.values()),
        "seeds": len(runs),
    }


def comparison_rows(
    pair: Comparison, episodes: Mapping[str, BySeed], environment: str, variant: str
) -> Iterator[dict[str, Any]]:
    """Yield a row for each figure of ``a`` minus ``b``; the row of success states whether the target was reached."""
    for difference in study_differences(episodes.get(pair.a, {}), episodes.get(pair.b, {})):
        row: dict[str, Any] = {
            "a": arm_label(pair.a, variant),
            "b": arm_label(pair.b, variant),
            "environment": environment,
        }
        if difference.metric == "success" and pair.aim_points is not None:
            row |= {"aim_points": pair.aim_points, "aim_reached": 100 * difference.difference >= pair.aim_points}
        yield row | difference_json(difference)


def order_rows(
    study: Study, episodes: Mapping[str, BySeed], environment: str, variant: str
) -> Iterator[dict[str, Any]]:
    """Yield a row for each step of the paper's ordering."""
    for step in order_steps([arm for arm in study.order if study.arm_in_variant(arm, variant)], episodes):
        difference = None if step.difference is None else difference_json(step.difference)
        yield {**asdict(step), "variant": variant, "environment": environment, "difference": difference}


def difference_json(difference: PairedDifference) -> dict[str, Any]:
    """A paired difference as JSON, with its interval as a list."""
    ci95 = difference.ci95
    return {**asdict(difference), "ci95": None if ci95 is None else list(ci95)}
