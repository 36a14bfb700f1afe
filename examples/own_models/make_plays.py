"""Writes plays.csv and things.csv: made-up viewers with two tastes. Run it to make others."""

import csv
import random
from pathlib import Path

HERE = Path(__file__).parent
VIEWERS, ITEMS, EACH = 80, 40, 20


def main() -> None:
    """Write both files."""
    rng = random.Random(11)  # noqa: S311
    plays = []
    for viewer in range(1, VIEWERS + 1):
        taste = [item for item in range(1, ITEMS + 1) if item % 2 == viewer % 2]
        other = [item for item in range(1, ITEMS + 1) if item % 2 != viewer % 2]
        liked = rng.sample(taste, EACH - 3) + rng.sample(other, 3)
        liked.sort(key=lambda item: item * rng.random())  # small numbers are met earlier
        start = rng.randrange(0, 20 * 86_400)
        for place, item in enumerate(liked):
            at = start + place * 86_400 + rng.randrange(3_600)
            stars = 5 if item in taste else 2
            plays.append((viewer, item, stars, 1_767_225_600 + at))
    plays.sort(key=lambda row: (row[3], row[0]))
    _write("plays.csv", ("viewer", "item", "stars", "second"), plays)
    things = [(item, "odd" if item % 2 else "even", 10 * item) for item in range(1, ITEMS + 1)]
    _write("things.csv", ("item", "kind", "size"), things)


def _write(name: str, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
