"""A downstream app under load: each request stores one row in a table of its own and one of the framework's.

It answers 200 when both are committed, and 503 when the database was busy for too long; then nothing was stored.
"""

import logging
import os
from uuid import uuid4

import peewee as pw
from flask import Flask

import framework_schema
from framework_schema.models import Dashboard

logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")

app = Flask(__name__)
app.config["DATABASE"] = os.environ["SERVED_DATABASE"]
app.config.from_prefixed_env()
alone = os.environ.get("SOAKED_ALONE")
"""The folder of its scripts, for an app that has nothing of the framework but its way to migrate."""
schema = framework_schema.init_app(app, sources=[framework_schema.Folder(alone)] if alone else None)

BUSY = ("locked", "Lock wait timeout")


@app.post("/<writer>/<int:number>")
def write(writer, number):
    database = schema.database
    mark = database.param
    transaction = database.atomic("IMMEDIATE") if isinstance(database, pw.SqliteDatabase) else database.atomic()
    try:
        with transaction:
            database.execute_sql(f"INSERT INTO item (writer, number) VALUES ({mark}, {mark})", (writer, number))
            if not alone:
                Dashboard.create(name=f"{writer} {number} {uuid4()}")
    except pw.OperationalError as error:
        if any(text in str(error) for text in BUSY):
            return "busy", 503, {"Retry-After": "1"}
        raise
    return "stored"
