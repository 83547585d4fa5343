"""A downstream app as small as one can be: a path, one line, and views that need the schema."""

import logging
import os
from uuid import uuid4

from flask import Flask

import framework_schema
from framework_schema.models import Dashboard, DashboardWidget

logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")

app = Flask(__name__)
app.config["DATABASE_PATH"] = os.environ["SERVED_DATABASE"]
app.config.from_prefixed_env()
framework_schema.init_app(app)


@app.get("/")
def add_widget():
    dashboard = Dashboard.create(name=str(uuid4()))
    DashboardWidget.create(dashboard=dashboard, widget_type="note", title="Hello", config="{}")
    return "widget added"
