"""``python -m cluster.bench.learner``: the benchmark without Ray and without the command line's packages."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cluster.bench.learner.run import bench_learner
from cluster.run.provenance import hardware
from rollout.errors import UserError


def main() -> None:
    """Measure and print JSON, or write it to the file of ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m cluster.bench.learner")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny models, to check that everything works")
    parser.add_argument("--json", metavar="FILE", help="file for the result")
    options = parser.parse_args()
    try:
        measured = bench_learner(options.device, quick=options.quick)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    command = " ".join([parser.prog, *sys.argv[1:]])
    text = json.dumps({"name": "learner", "command": command, "hardware": hardware(), **measured}, indent=2)
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
