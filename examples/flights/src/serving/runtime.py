"""The flights model as an MLServer runtime: one request is one flight.

Inputs and output are the tensors below; `features.py` gives the order of the
values. Anything else is answered with status 400 and `{"error": ...}`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy
from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor, ResponseOutput

import features

HERE = Path(__file__).parent
INPUTS = {
    "numbers": MetadataTensor(name="numbers", datatype="FP64", shape=[1, len(features.NUMBERS)]),
    "categories": MetadataTensor(
        name="categories", datatype="BYTES", shape=[1, len(features.CATEGORIES)]
    ),
}
LATE = MetadataTensor(name="late", datatype="FP64", shape=[1, 1])


class Flights(MLModel):
    """Chance that a flight leaves more than 15 minutes late."""

    async def load(self) -> bool:
        """Read the model, and predict once so that no caller pays for the first time."""
        text = (HERE / "features.json").read_text(encoding="utf-8")
        self._codes = json.loads(text)["codes"]
        self._booster = lightgbm.Booster(model_file=HERE / "model.txt")
        self._score([numpy.nan] * len(features.FEATURES))
        self.inputs = list(INPUTS.values())
        self.outputs = [LATE]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one flight."""
        try:
            raw = read(payload)
            row = features.encode(raw["numbers"], raw["categories"], self._codes)
        except (ValueError, OverflowError) as error:
            raise InferenceError(str(error)) from error
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[ResponseOutput(**LATE.model_dump(), data=[self._score(row)])],
        )

    def _score(self, row: Sequence[float]) -> float:
        """One thread: for one row a second costs more than it gives."""
        return float(self._booster.predict(numpy.array([row]), num_threads=1)[0])


def read(payload: InferenceRequest) -> dict[str, list]:
    """The values of each input by name; raises ValueError if one is not as declared."""
    given = {tensor.name: tensor for tensor in payload.inputs}
    if set(given) != set(INPUTS) or len(payload.inputs) != len(INPUTS):
        raise ValueError(f"the inputs must be {' and '.join(INPUTS)}, once each")
    values = {}
    for name, want in INPUTS.items():
        tensor = given[name]
        if (tensor.datatype, tensor.shape) != (want.datatype, want.shape):
            raise ValueError(f"input {name} must be {want.datatype} of shape {want.shape}")
        values[name] = flat(tensor.data.root, str if want.datatype == "BYTES" else float)
    return values


def flat(data: object, kind: type) -> list:
    """The one row of a tensor, sent flat or nested, with every value of the kind."""
    row = data[0] if isinstance(data, list) and len(data) == 1 else data
    kinds = (float, int) if kind is float else (kind,)
    if not isinstance(row, list) or any(type(value) not in kinds for value in row):
        raise ValueError(f"data must be a list of {'numbers' if kind is float else 'strings'}")
    return row
