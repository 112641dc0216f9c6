"""Read a snapshot of flights and weather files as raw flights in time order.

Everything in a raw flight was known before its scheduled departure: the
weather is the latest hourly observation strictly earlier, and the recent
delay counts only aircraft that had already left. Times are UTC (`time_hour`),
so the change to summer time needs no care.
"""

import bisect
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

from src.features import MISSING, NUMBERS

LATE_AFTER_MINUTES = 15
RECENT = timedelta(hours=2)
WEATHER_MAX_AGE = timedelta(hours=6)
WEATHER = NUMBERS[NUMBERS.index("temp") :]
NULLS = ("", "NA")

# How many of each unit one minute is.
DELAY_UNITS = {"minutes": 1.0, "hours": 1 / 60}

Row = dict[str, str]


@dataclass(frozen=True)
class Flight:
    """A raw flight (see `features`), its scheduled departure and what became of it."""

    id: str
    time: datetime
    numbers: tuple[float, ...]
    categories: tuple[str, str, str]
    late: int


class Departures:
    """Departures of one airport by the time they really left."""

    def __init__(self, departures: list[tuple[datetime, float]]) -> None:
        departures.sort()
        self._times = [time for time, _ in departures]
        self._sums = [0.0, *accumulate(delay for _, delay in departures)]

    def mean_delay(self, before: datetime) -> float | None:
        """Mean delay in minutes of those that left in the `RECENT` time before."""
        first = bisect.bisect_left(self._times, before - RECENT)
        last = bisect.bisect_left(self._times, before)
        if first == last:
            return None
        return (self._sums[last] - self._sums[first]) / (last - first)


class Station:
    """Hourly weather of one airport."""

    def __init__(self, hours: list[tuple[datetime, tuple[float, ...]]]) -> None:
        hours.sort()
        self._times = [time for time, _ in hours]
        self._values = [values for _, values in hours]

    def before(self, time: datetime) -> tuple[float, ...]:
        """The latest observation strictly before; all missing if it is too old."""
        at = bisect.bisect_left(self._times, time) - 1
        if at < 0 or time - self._times[at] > WEATHER_MAX_AGE:
            return (MISSING,) * len(WEATHER)
        return self._values[at]


def read_flights(snapshot: Path, delay_unit: str) -> list[Flight]:
    """All flights of the snapshot that left, by scheduled departure, then id."""
    departed = [row for row in read(snapshot, "flights") if row["dep_delay"] not in NULLS]
    times = [scheduled(row) for row in departed]
    leaving: dict[str, list[tuple[datetime, float]]] = {}
    for row, time in zip(departed, times, strict=True):
        delay = float(row["dep_delay"])
        leaving.setdefault(row["origin"], []).append((time + timedelta(minutes=delay), delay))
    airports = {origin: Departures(departures) for origin, departures in leaving.items()}
    stations = read_stations(snapshot)

    flights = []
    for row, time in zip(departed, times, strict=True):
        recent = airports[row["origin"]].mean_delay(before=time)
        recent = MISSING if recent is None else recent * DELAY_UNITS[delay_unit]
        weather = stations[row["origin"]].before(time)
        flights.append(flight(row, time, recent, weather))
    return sorted(flights, key=lambda flight: (flight.time, flight.id))


def flight(row: Row, time: datetime, recent_delay: float, weather: tuple[float, ...]) -> Flight:
    """One raw flight from its table row and what was known at its departure."""
    day = "-".join((row["year"], row["month"].zfill(2), row["day"].zfill(2)))
    clock = row["sched_dep_time"].zfill(4)
    key = f"{day}T{clock}-{row['origin']}-{row['carrier']}-{row['flight']}"
    own = (number(row[name]) for name in NUMBERS[: NUMBERS.index("recent_delay")])
    return Flight(
        id=key,
        time=time,
        numbers=(*own, round(recent_delay, 6), *weather),
        categories=(row["origin"], row["carrier"], row["dest"]),
        late=int(float(row["dep_delay"]) > LATE_AFTER_MINUTES),
    )


def read_stations(snapshot: Path) -> dict[str, Station]:
    """The weather station of each origin."""
    hours: dict[str, list[tuple[datetime, tuple[float, ...]]]] = {}
    for row in read(snapshot, "weather"):
        values = tuple(number(row[name]) for name in WEATHER)
        hours.setdefault(row["origin"], []).append((utc(row["time_hour"]), values))
    return {origin: Station(station) for origin, station in hours.items()}


def read(snapshot: Path, table: str) -> Iterator[Row]:
    """Rows of the table's monthly files in the order of their names."""
    paths = sorted(snapshot.glob(f"{table}-*.csv"))
    if not paths:
        raise FileNotFoundError(f"{snapshot} holds no {table}-*.csv")
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def scheduled(row: Row) -> datetime:
    """Scheduled departure; `time_hour` is its hour in UTC."""
    return utc(row["time_hour"]) + timedelta(minutes=int(row["minute"]))


def utc(text: str) -> datetime:
    """A time such as 2013-01-01T10:00:00Z."""
    return datetime.fromisoformat(text).astimezone(UTC)


def number(text: str) -> float:
    """A cell's number; a null becomes MISSING."""
    return MISSING if text in NULLS else float(text)
