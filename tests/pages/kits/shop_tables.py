"""Writes tables of a made-up shop of shoes: ratings and titles (English, German), what users did, pairs to score."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

PLACES = ["Trail", "Beach", "City", "Forest", "River"]
KINDS = ["Runner", "Sandal", "Boot", "Sneaker", "Slipper", "Loafer", "Clog", "Hiker"]
DEUTSCH = ["Alp", "Strand", "Stadt", "Wald", "Fluss"]
SCHUHE = ["Laufschuh", "Sandale", "Stiefel", "Turnschuh", "Pantoffel", "Slipper", "Clog", "Wanderschuh"]


def table(file: str, header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",") -> None:
    """Write one file of rows."""
    path = Path(file)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerows([header, *rows])


draw = random.Random(0)
start = datetime(2025, 1, 1)
events: list[tuple[str, str, int, datetime]] = []
for user in range(40):
    liked = draw.sample(range(len(KINDS)), 3)
    for step, item in enumerate(draw.sample(range(40), 14)):
        stars = draw.choice([4, 5]) if item % len(KINDS) in liked else draw.choice([1, 2, 3, 4])
        events.append((f"c{user}", str(item + 1), stars, start + timedelta(hours=user, minutes=7 * step)))

titles = [(str(number + 1), f"{PLACES[number // 8]} {KINDS[number % 8]}") for number in range(40)]
titel = [(str(number + 1), f"{SCHUHE[number % 8]} {DEUTSCH[number // 8]}") for number in range(40)]
table("products.csv", ["sku", "name"], titles)
table("ratings.csv", ["customer", "sku", "stars", "date"], [(u, i, s, t.isoformat()) for u, i, s, t in events])
table("artikel.csv", ["ArtNr", "Bezeichnung"], titel, ";")
table(
    "bewertungen.csv",
    ["KundenNr", "ArtNr", "Sterne", "Datum"],
    [(u, i, s, t.isoformat()) for u, i, s, t in events],
    ";",
)
done = [(u, i, s, int(t.timestamp())) for u, i, s, t in events]
names = ["user_id", "item_id", "rating", "timestamp"]
table("events.csv", names[:2] + names[3:], [(u, i, t) for u, i, _, t in done])
table("events/part-0000.csv", names, done[::2])
table("events/part-0001.csv", names, done[1::2])
table("pairs.csv", ["user_id", "item_id"], [(f"c{user}", str(item)) for user in range(3) for item in (1, 9, 17)])
Path("keys.txt").write_text("a-key-of-24-characters-1\n", encoding="utf-8")
