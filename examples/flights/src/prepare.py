"""Step: raw flights from a snapshot, split by time, and a sample of requests."""

from datetime import timedelta

from src import requests, step, table
from src.records import read_flights

SAMPLE_ROWS = 200


def main() -> None:
    """Hold out the last days: a model is always asked about days it has not seen."""
    params = step.params()
    flights = read_flights(step.source("flights"), params["delay_unit"])
    cut = flights[-1].time - timedelta(days=params["test_days"])
    train = [flight for flight in flights if flight.time < cut]
    test = [flight for flight in flights if flight.time >= cut]
    table.write(step.target("train.csv"), train)
    table.write(step.target("test.csv"), test)
    stride = max(1, len(test) // SAMPLE_ROWS)
    requests.write(step.target("sample.jsonl"), test[::stride][:SAMPLE_ROWS])


if __name__ == "__main__":
    main()
