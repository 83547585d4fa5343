"""Theme parameters that the application cannot use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import column_names, has_columns, insert_missing, read_json, takes, text_of, typed, undecoded

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/007_settings"]

STYLES = '{"border_style": "rounded", "spacing": "normal", "background": "subtle"}'
KEPT = "theme_section_styles_replaced"


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Rename the scheme ``default``, and give styles that are no JSON their default; a copy of them is kept.

    The framework does both at every start, so neither can be what a user wants.
    """
    if fake or not has_columns(database, "SystemParameters", "parameter_name", "parameter_value"):
        return
    parameters = pw.Table("SystemParameters")
    name, value = parameters.c.parameter_name, parameters.c.parameter_value
    scheme = parameters.update({value: typed(database, "SystemParameters", "parameter_value", "casaos")})
    scheme.where(name == "theme_color_scheme", text_of(database, value) == "default").execute(database)
    found = (
        parameters.select(text_of(database, undecoded(database, value))).where(name == "theme_section_styles").limit(1)
    )
    for (styles,) in list(found.tuples().execute(database)):
        if styles is None or (read_json(styles) is None and _keep(database, styles)):
            parameters.update({value: typed(database, "SystemParameters", "parameter_value", STYLES)}).where(
                name == "theme_section_styles"
            ).execute(database)


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    """Leave the values: the application cannot use the old ones."""


def _keep(database: pw.Database, styles: bytes | str) -> bool:
    """Put a text that says something aside; tell whether it is safe there."""
    try:
        text = styles.decode() if isinstance(styles, bytes) else styles
    except UnicodeDecodeError:
        return False
    if not text.strip():
        return True
    row = {"parameter_name": KEPT, "parameter_value": text}
    if column_names(database, "SystemParameters") >= {"key", "value"}:
        row |= {"key": KEPT, "value": text}
    if not takes(database, "SystemParameters", *row):
        return False
    return insert_missing(database, "SystemParameters", ["parameter_name"], [row]) == 1
