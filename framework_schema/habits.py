"""What people type who come from other tools, answered with our command; and whole summaries in the help."""

from __future__ import annotations

from typing import Any

import click

HABITS = {
    "upgrade": "migrate", "up": "migrate", "run": "migrate", "apply": "migrate", "update": "migrate",
    "downgrade": "rollback", "down": "rollback", "undo": "rollback", "list": "plan", "showmigrations": "plan",
    "show": "plan", "pending": "plan", "info": "status", "current": "status", "heads": "status", "log": "history",
    "makemigrations": "create", "revision": "create", "new": "create", "generate": "create", "validate": "check",
    "verify": "check", "diff": "check", "repair": "doctor", "stamp": "migrate", "dump": "backup", "init": "migrate",
}  # fmt: skip
"""Names of Alembic, Flask-Migrate, Django, Flyway, dbmate and pw_migrate, and ours."""

EXAMPLES = {
    "migrate": ("migrate data/ --dry-run", "migrate data/homebrew.db --strict"),
    "status": ("status data/ -v", "status --json | jq .summary"),
    "plan": ("plan data/homebrew.db",),
    "check": ("check data/ --strict",),
    "history": ("history data/homebrew.db --failed", "history data/homebrew.db --events --limit 20"),
    "demo": ("demo",),
    "rollback": ("rollback data/homebrew.db --dry-run", "rollback data/homebrew.db --to app/002_beer --yes"),
    "backup": ("backup data/homebrew.db", "backup data/homebrew.db --into /mnt/copies"),
    "restore": ("restore data/backups/FILE.backup data/homebrew.db",),
    "restore-rows": ("restore-rows data/homebrew.db",),
    "copy": ("copy data/homebrew.db postgresql://me@host/homebrew",),
    "doctor": ("doctor data/",),
    "create": ("create add_colour --auto app.models",),
}
ONE_DATABASE = {
    "migrate",
    "status",
    "plan",
    "check",
    "history",
    "rollback",
    "backup",
    "restore",
    "restore-rows",
    "doctor",
}


class Commands(click.Group):
    """A group that answers other tools' names, writes whole summaries, and gives examples."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name our command where another tool's was typed."""
        name = args[0] if args else ""
        ours = HABITS.get(name)
        if ours and self.get_command(ctx, name) is None:
            raise click.UsageError(f"there is no {name!r} here; it is: {ctx.command_path} {ours}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the whole of their first sentence."""
        names = [name for name in self.list_commands(ctx) if not getattr(self.get_command(ctx, name), "hidden", False)]
        rows = [(name, _summary(self.get_command(ctx, name))) for name in names]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Give a command its examples."""
        told = name or cmd.name or ""
        if told in EXAMPLES and cmd.epilog is None:
            start = "flask schema" if self.name == "schema" else "framework-schema"
            lines = [_line(start, told, example) for example in EXAMPLES[told]]
            cmd.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
        super().add_command(cmd, name)


def _line(start: str, name: str, example: str) -> str:
    if start.startswith("flask"):
        words = example.split()
        words = [word for word in words if not word.endswith((".db", "/"))] if name in ONE_DATABASE else words
        example = " ".join(words)
    return f"{start} {example}"


def _summary(command: click.Command | None) -> str:
    text = " ".join((command.help if command and command.help else "").split("\n\n")[0].split())
    return text.rstrip(".")


@click.command("db", hidden=True, context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def db(words: tuple[str, ...]) -> None:
    """Answer ``flask db``, the habit of Flask-Migrate, where the app has no such command."""
    ours = HABITS.get(words[0], words[0]) if words else "status"
    raise click.UsageError(f"this app has no Flask-Migrate; its schema is under `flask schema`: flask schema {ours}")
