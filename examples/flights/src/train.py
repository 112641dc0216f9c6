"""Step: fit a boosted tree model and lay out a folder that can be served alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import lightgbm
import numpy

from src import step, table
from src.features import CATEGORIES, FEATURES, encode, learn_codes

HERE = Path(__file__).parent
SERVED = (HERE / "features.py", HERE / "serving" / "runtime.py", HERE / "serving" / "serve.py")


def main() -> None:
    """Train on `train` and write the folder `model`."""
    params = step.params()
    train = table.read(step.source("train"))
    codes = learn_codes(train.categories)
    rows = [encode(*flight, codes) for flight in zip(train.numbers, train.categories, strict=True)]
    booster = fit(numpy.array(rows), numpy.array(train.late), params)

    folder = step.target("model")
    folder.mkdir()
    booster.save_model(folder / "model.txt")
    text = json.dumps({"features": FEATURES, "codes": codes}, indent=1) + "\n"
    (folder / "features.json").write_text(text, encoding="utf-8")
    for path in SERVED:
        shutil.copyfile(path, folder / path.name)


def fit(rows: numpy.ndarray, late: numpy.ndarray, params: dict[str, Any]) -> lightgbm.Booster:
    """Fit with one thread and fixed layout: sums then always add in one order."""
    data = lightgbm.Dataset(
        rows,
        label=late,
        feature_name=list(FEATURES),
        categorical_feature=list(CATEGORIES),
    )
    settings = {
        "objective": "binary",
        "learning_rate": params["learning_rate"],
        "num_leaves": params["leaves"],
        "min_data_in_leaf": 100,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 0.8,
        "seed": step.seed(),
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    return lightgbm.train(settings, data, num_boost_round=params["trees"])


if __name__ == "__main__":
    main()
