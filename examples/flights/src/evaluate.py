"""Step: score the held-out days, overall and by slice, as numbers a gate can read."""

import json
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy

from src import step, table
from src.features import CATEGORIES, encode

SLICES = ("carrier", "origin")
CALIBRATION_BINS = 10

Measures = dict[str, float | None]


def main() -> None:
    """Write eval.json."""
    test = table.read(step.source("test"))
    late = numpy.array(test.late)
    score = predict(step.source("model"), test)
    slices = {}
    for name in SLICES:
        values = [row[CATEGORIES.index(name)] for row in test.categories]
        slices[name] = by_slice(values, late, score)
    report = {**measure(late, score), **calibration(late, score), "slices": slices}
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    step.target("eval.json").write_text(text, encoding="utf-8")


def predict(folder: Path, test: table.Table) -> numpy.ndarray:
    """Probabilities of the saved model, through the codes saved with it."""
    codes = json.loads((folder / "features.json").read_text(encoding="utf-8"))["codes"]
    booster = lightgbm.Booster(model_file=folder / "model.txt")
    rows = [encode(*flight, codes) for flight in zip(test.numbers, test.categories, strict=True)]
    return numpy.asarray(booster.predict(numpy.array(rows), num_threads=1))


def by_slice(
    values: Sequence[str], late: numpy.ndarray, score: numpy.ndarray
) -> dict[str, Measures]:
    """The same measures for the rows of each value."""
    column = numpy.array(values)
    return {
        value: measure(late[column == value], score[column == value])
        for value in sorted(set(values))
    }


def measure(late: numpy.ndarray, score: numpy.ndarray) -> Measures:
    """Row count, rate of late flights, AUC, Brier score and log-loss."""
    chance = numpy.where(late == 1, score, 1 - score)
    return {
        "rows": len(late),
        "late_rate": digits(late.mean()),
        "auc": auc(late, score),
        "brier": digits(((score - late) ** 2).mean()),
        "log_loss": digits(-numpy.log(numpy.clip(chance, 1e-15, 1)).mean()),
    }


def auc(late: numpy.ndarray, score: numpy.ndarray) -> float | None:
    """Chance that a late flight scores above one on time (ties half); None with one class."""
    positives = int(late.sum())
    negatives = len(late) - positives
    if positives == 0 or negatives == 0:
        return None
    _, group, size = numpy.unique(score, return_inverse=True, return_counts=True)
    ranks = (numpy.cumsum(size) - (size - 1) / 2)[group]
    area = ranks[late == 1].sum() - positives * (positives + 1) / 2
    return digits(area / (positives * negatives))


def calibration(late: numpy.ndarray, score: numpy.ndarray) -> dict[str, object]:
    """Predicted against observed rate by tenth of the score's range, and the mean gap."""
    bins = numpy.minimum((score * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    curve, gap = [], 0.0
    for index in numpy.unique(bins):
        inside = bins == index
        predicted, observed = score[inside].mean(), late[inside].mean()
        point = {"predicted": digits(predicted), "observed": digits(observed)}
        curve.append({"rows": int(inside.sum()), **point})
        gap += abs(predicted - observed) * inside.mean()
    return {"calibration_error": digits(gap), "calibration": curve}


def digits(value: float) -> float:
    """Six digits: more would only record noise of the last bit."""
    return round(float(value), 6)


if __name__ == "__main__":
    main()
