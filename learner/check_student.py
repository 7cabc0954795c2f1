"""Loads the student that a run starts from and saves it to a scratch folder, so that saving it later cannot fail.

A program of its own: the command that starts it stays free of torch. Its argument is a request as JSON; it
writes its mistakes as the last line of the standard output (see `cluster.dry_run.student`).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learner.config import LearnerConfig
from rollout.errors import UserError
from rollout.messages import first_line
from rollout.models import model_folder


def mistakes(learner: Mapping[str, Any], model: str | None, *, with_weights: bool) -> list[str]:
    """Load the student and save it to a scratch folder. Returns sentences about what fails."""
    config = LearnerConfig.model_validate(learner)
    try:
        with tempfile.TemporaryDirectory(prefix="stillhouse-student-") as folder:
            (save_untrained if with_weights else save_settings)(config, model, folder)
    except UserError as error:
        return [str(error).rstrip(".")]
    except (OSError, ValueError) as error:
        return [f"the untrained student cannot be saved ({first_line(error)}); correct the files of its folder"]
    return []


def save_untrained(config: LearnerConfig, model: str | None, folder: str) -> None:
    """Load the student, compare its head with the learner's, and save it, as the learner does."""
    import torch

    from learner.head import check_head
    from learner.model import make_model, save_model

    student, tokenizer = make_model(config, model)
    check_head(student)
    save_model(student, student.state_dict().items(), tokenizer, f"{folder}/student", torch.bfloat16)


def save_settings(config: LearnerConfig, model: str | None, folder: str) -> None:
    """Save what stands beside the weights: configuration, generation settings and tokenizer."""
    from transformers import AutoConfig, GenerationConfig

    from learner.generation_config import repair
    from learner.model import load_tokenizer, starting_point

    source = model_folder(starting_point(config, model))
    AutoConfig.from_pretrained(source).save_pretrained(folder)
    if (Path(source) / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(source)
        repair(generation)
        generation.save_pretrained(folder)
    load_tokenizer(source).save_pretrained(folder)


def main() -> None:
    """Print the mistakes of the request as JSON."""
    request = json.loads(sys.argv[1])
    print(json.dumps(mistakes(request["learner"], request["model"], with_weights=request["with_weights"])))


if __name__ == "__main__":
    main()
