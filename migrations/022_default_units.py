"""The units every installation starts with, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from framework_schema.rows import delete_unchanged, insert_missing

if TYPE_CHECKING:
    import peewee as pw
    from peewee_migrate import Migrator

fills = ["units"]

depends_on = ["framework/019_units"]

UNITS = {
    "mass": [
        "g",
        "grams",
        "kg",
        "kilograms",
        "lb",
        "lbs",
        "pounds",
        "oz",
        "ounces",
        "mg",
        "milligrams",
        "tonnes",
        "tons",
    ],
    "volume": [
        "ml",
        "milliliters",
        "l",
        "liters",
        "litres",
        "cup",
        "cups",
        "tbsp",
        "tablespoons",
        "tsp",
        "teaspoons",
        "fl oz",
        "fluid ounces",
        "pt",
        "pints",
        "qt",
        "quarts",
        "gal",
        "gallons",
    ],
    "length": [
        "mm",
        "millimeters",
        "cm",
        "centimeters",
        "m",
        "meters",
        "metres",
        "km",
        "kilometers",
        "in",
        "inches",
        "ft",
        "feet",
        "yd",
        "yards",
        "mi",
        "miles",
    ],
    "temperature": ["°C", "celsius", "°F", "fahrenheit", "K", "kelvin"],
    "time": [
        "sec",
        "seconds",
        "min",
        "minutes",
        "hr",
        "hours",
        "day",
        "days",
        "week",
        "weeks",
        "month",
        "months",
        "year",
        "years",
    ],
    "count": [
        "pcs",
        "pieces",
        "units",
        "items",
        "each",
        "dozen",
        "pair",
        "pairs",
        "set",
        "sets",
        "box",
        "boxes",
        "pack",
        "packs",
    ],
    "percentage": ["%", "percent", "percentage"],
    "energy": [
        "J",
        "joules",
        "kJ",
        "kilojoules",
        "cal",
        "calories",
        "kcal",
        "kilocalories",
        "Wh",
        "watt-hours",
        "kWh",
        "kilowatt-hours",
    ],
    "other": [
        "ratio",
        "parts",
        "drops",
        "pinch",
        "dash",
        "serving",
        "servings",
        "portion",
        "portions",
        "sheet",
        "sheets",
    ],
}

ROWS = [
    {"name": name, "category": category, "display_order": place, "is_active": True}
    for place, (category, name) in enumerate(
        ((category, name) for category, names in UNITS.items() for name in names), start=1
    )
]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if not fake:
        insert_missing(database, "units", ["name"], ROWS)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if not fake:
        delete_unchanged(database, "units", ROWS)
