"""The command ``framework-schema``, which is ``python -m framework_schema`` too."""

from __future__ import annotations

import sys


def start() -> None:
    """Answer at a glance where that is possible, else run the command."""
    from framework_schema import glance

    told = glance.answer(sys.argv[1:])
    if told is not None:
        print(told)
        return
    from framework_schema.cli import main

    main(prog_name="framework-schema")


if __name__ == "__main__":
    start()
