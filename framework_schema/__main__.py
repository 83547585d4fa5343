"""``python -m framework_schema`` is the command ``framework-schema``."""

from framework_schema.cli import main

if __name__ == "__main__":
    main(prog_name="framework-schema")
