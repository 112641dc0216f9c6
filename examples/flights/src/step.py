"""What Lineal hands to a step: where its inputs, outputs, params and seed are."""

import json
import os
from pathlib import Path
from typing import Any


def source(name: str) -> Path:
    """Path of a declared input: a snapshot folder, or another step's output."""
    return Path(os.environ["LINEAL_IN"], name)


def target(path: str) -> Path:
    """Path at which a declared output must be written."""
    return Path(os.environ["LINEAL_OUT"], path)


def params() -> dict[str, Any]:
    """The parameters this step declares, and no others."""
    return json.loads(Path(os.environ["LINEAL_PARAMS"]).read_text(encoding="utf-8"))


def seed() -> int:
    """The step's own seed, derived from the pipeline's."""
    return int(os.environ["LINEAL_SEED"])
