"""From the raw fields of one flight to the numbers the model sees.

Training and serving share this file (`train.py` copies it next to the
model), so there is one definition of every feature. A raw flight is what a
caller can know at scheduled departure: the values of `NUMBERS`, then those of
`CATEGORIES`, each in this order.

A missing number is sent as `MISSING`, as weather stations do: an Open
Inference Protocol FP64 tensor has no null, and JSON has no NaN.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import date

MISSING = -9999.0

NUMBERS = (
    "year",
    "month",
    "day",
    "sched_dep_time",  # local clock, hhmm: 1545 is 15:45
    "distance",  # miles
    "recent_delay",  # mean delay of the origin's departures in the last two hours, minutes
    "temp",  # degrees Fahrenheit; this and the rest from the origin's weather station
    "dewp",  # degrees Fahrenheit
    "humid",  # percent
    "wind_speed",  # miles an hour
    "precip",  # inches
    "pressure",  # millibars
    "visib",  # miles
)
CATEGORIES = ("origin", "carrier", "dest")
FEATURES = ("minute_of_day", "day_of_week", *NUMBERS[4:], *CATEGORIES)

_WEATHER_AND_REST = slice(4, len(NUMBERS))

Codes = dict[str, dict[str, int]]


def learn_codes(flights: Iterable[Sequence[str]]) -> Codes:
    """Number the categories seen in training, in sorted order."""
    columns = zip(*flights, strict=True)
    return {
        name: {value: code for code, value in enumerate(sorted(set(column)))}
        for name, column in zip(CATEGORIES, columns, strict=True)
    }


def encode(numbers: Sequence[float], categories: Sequence[str], codes: Codes) -> list[float]:
    """One model row in the order of `FEATURES`; raises ValueError on a bad flight.

    A category that training never saw becomes NaN, which the model treats as
    it treats any missing value: a new airport must not stop the service.
    """
    if len(numbers) != len(NUMBERS) or len(categories) != len(CATEGORIES):
        raise ValueError(f"a flight has {len(NUMBERS)} numbers and {len(CATEGORIES)} categories")
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"a number is not finite; send {MISSING:g} for a missing one")
    year, month, day, clock = (int(number) for number in numbers[:4])
    row = [minute_of_day(clock), float(date(year, month, day).weekday())]
    row += [math.nan if number == MISSING else number for number in numbers[_WEATHER_AND_REST]]
    row += [
        codes[name].get(value, math.nan)
        for name, value in zip(CATEGORIES, categories, strict=True)
    ]
    return row


def minute_of_day(clock: int) -> float:
    """Minutes since local midnight of a clock written hhmm."""
    hour, minute = divmod(clock, 100)
    if not (0 <= hour < 24 and 0 <= minute < 60):
        raise ValueError(f"{clock} is no time of day; write 15:45 as 1545")
    return float(hour * 60 + minute)
