"""The table between prepare, train and evaluate: raw flights and their label as CSV.

Raw rather than encoded, so that a person can read it and only `features.py`
knows how a feature is made.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from src.features import CATEGORIES, NUMBERS
from src.records import Flight

COLUMNS = (*NUMBERS, *CATEGORIES, "late")


class Table(NamedTuple):
    """Columns of equal length: raw numbers, raw categories and labels."""

    numbers: list[list[float]]
    categories: list[list[str]]
    late: list[int]


def write(path: Path, flights: Iterable[Flight]) -> None:
    """Write flights in their order; equal flights give equal bytes."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        out.writerows((*f.numbers, *f.categories, f.late) for f in flights)


def read(path: Path) -> Table:
    """Read what `write` wrote."""
    split = len(NUMBERS)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if tuple(next(rows)) != COLUMNS:
            raise ValueError(f"{path.name} does not have the columns of {__name__}")
        cells = list(rows)
    return Table(
        numbers=[[float(cell) for cell in row[:split]] for row in cells],
        categories=[row[split:-1] for row in cells],
        late=[int(row[-1]) for row in cells],
    )
