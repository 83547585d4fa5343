"""An app with the habits of the framework's real ones; the last line of ``create_app`` is its owner's one line."""

import logging
import sqlite3

from flask import Flask, jsonify, request
from inserts import insert, parents_first  # what the app inserts, from tests/inserts.py

import framework_schema

from .db import connect, init_db, system_parameters

logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")


def create_app():
    app = Flask(__name__)
    app.config.from_object("config.Config")
    init_db(app)
    app.add_url_rule("/", view_func=home)
    app.add_url_rule("/rows", view_func=add_rows, methods=["POST"])
    app.add_url_rule("/parameters", view_func=save_parameter, methods=["POST"])
    app.add_url_rule("/milestones", view_func=add_milestone, methods=["POST"])
    framework_schema.init_app(app)
    return app


def home():
    with connect() as connection:
        (dashboards,) = connection.execute("SELECT count(*) FROM Dashboard").fetchone()
    return jsonify(dashboards=dashboards, project_name=system_parameters().get("project_name"))


def add_rows():
    """Insert a row into every table, leaving out what may be left out; tell which tables refuse theirs."""
    refused = {}
    with connect() as connection:
        for table in parents_first():
            try:
                connection.execute(insert(table, request.form["token"]))
            except sqlite3.IntegrityError as error:
                refused[table] = str(error)
    return jsonify(refused)


def save_parameter():
    """Save as the app does, then read all there is under the name."""
    with connect() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO SystemParameters (parameter_name, parameter_value) VALUES (?, ?)",
            (request.form["name"], request.form["value"]),
        )
        found = connection.execute(
            "SELECT parameter_value FROM SystemParameters WHERE parameter_name = ?", (request.form["name"],)
        ).fetchall()
    return jsonify([value for (value,) in found])


def add_milestone():
    """Plan a state: by its order and duration, with its name and colour, and without a day."""
    with connect() as connection:
        entry, state, name, color = connection.execute(
            "SELECT e.id, s.id, s.name, s.color FROM Entry e, EntryState s ORDER BY e.id DESC, s.id DESC LIMIT 1"
        ).fetchone()
        made = connection.execute(
            "INSERT INTO EntryStateMilestone (entry_id, target_state_id, target_state_name, target_state_color,"
            " order_position, duration_days, notes) VALUES (?, ?, ?, ?, 1, 7, ?)",
            (entry, state, name, color, request.form["notes"]),
        )
    return jsonify(id=made.lastrowid, name=name, color=color)
