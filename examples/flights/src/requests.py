"""Flights as Open Inference Protocol requests, one JSON object a line.

Run as a step it writes the traffic of a snapshot, in time order, as
production would see it: delays in minutes, whatever a pipeline trained on.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from src import step
from src.features import CATEGORIES, NUMBERS
from src.records import Flight, read_flights


def main() -> None:
    """Write every `stride`-th flight, at most `rows` of them."""
    params = step.params()
    flights = read_flights(step.source("flights"), delay_unit="minutes")
    write(step.target("requests.jsonl"), flights[:: params["stride"]][: params["rows"]])


def write(path: Path, flights: Iterable[Flight]) -> None:
    """Write the flights' requests with their id, time and later known outcome."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for flight in flights:
            line = {
                "id": flight.id,
                "time": flight.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "body": body(flight),
                "outcome": flight.late,
            }
            file.write(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")


def body(flight: Flight) -> dict[str, object]:
    """The infer request; its id is the key that later joins the outcome."""
    return {
        "id": flight.id,
        "inputs": [
            tensor("numbers", "FP64", len(NUMBERS), flight.numbers),
            tensor("categories", "BYTES", len(CATEGORIES), flight.categories),
        ],
    }


def tensor(name: str, datatype: str, width: int, data: Iterable[object]) -> dict[str, object]:
    """A tensor of one row."""
    return {"name": name, "shape": [1, width], "datatype": datatype, "data": list(data)}


if __name__ == "__main__":
    main()
