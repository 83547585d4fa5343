"""Git repositories, their commits and branches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.fields import (
    AutoIncrementField,
    BooleanField,
    TextField,
    TextKeyField,
    TimestampField,
    default,
    index,
    now,
)

if TYPE_CHECKING:
    from peewee_migrate import Migrator

depends_on = ["framework/001_entries"]


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:

    @migrator.create_model
    class GitRepository(pw.Model):
        id = AutoIncrementField()
        name = TextField()
        url = TextField()
        local_path = TextField(null=True)
        default_branch = TextField(null=True, **default("main"))
        credentials_encrypted = TextField(null=True)
        last_synced = TimestampField(null=True)
        entry_type = pw.ForeignKeyField(
            migrator.orm["EntryType"],
            column_name="entry_type_id",
            null=True,
            on_delete="SET NULL",
            index=False,
        )
        auto_sync = BooleanField(null=True, **default(0))
        auto_create_entries = BooleanField(null=True, **default(0))
        sync_interval = pw.IntegerField(null=True, **default(15))
        commit_types = TextField(null=True, **default("feat,fix,docs,refactor"))
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())
        allowed_statuses = TextField(null=True)

        class Meta:
            table_name = "GitRepository"

    @migrator.create_model
    class GitCommit(pw.Model):
        id = AutoIncrementField()
        repository = pw.ForeignKeyField(GitRepository, column_name="repository_id", on_delete="CASCADE", index=False)
        commit_hash = TextKeyField(unique=True)
        author = TextField(null=True)
        author_email = TextField(null=True)
        message = TextField(null=True)
        message_body = TextField(null=True)
        commit_date = TimestampField(null=True)
        branch = TextField(null=True)
        files_changed = pw.IntegerField(null=True, **default(0))
        insertions = pw.IntegerField(null=True, **default(0))
        deletions = pw.IntegerField(null=True, **default(0))
        entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="entry_id", null=True, on_delete="SET NULL", index=False
        )
        created_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "GitCommit"
            indexes = [
                index("idx_git_commit_entry", "GitCommit", "entry_id"),
                index("idx_git_commit_hash", "GitCommit", "commit_hash"),
                index("idx_git_commit_repo", "GitCommit", "repository_id"),
            ]

    @migrator.create_model
    class GitBranch(pw.Model):
        id = AutoIncrementField()
        repository = pw.ForeignKeyField(GitRepository, column_name="repository_id", on_delete="CASCADE", index=False)
        name = TextKeyField()
        is_default = BooleanField(null=True, **default(0))
        last_commit_hash = TextField(null=True)
        last_commit_date = TimestampField(null=True)
        entry = pw.ForeignKeyField(
            migrator.orm["Entry"], column_name="entry_id", null=True, on_delete="SET NULL", index=False
        )
        created_at = TimestampField(null=True, **now())
        updated_at = TimestampField(null=True, **now())

        class Meta:
            table_name = "GitBranch"
            indexes = [
                (("repository", "name"), True),
                index("idx_git_branch_repo", "GitBranch", "repository_id"),
            ]


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    migrator.remove_model("GitBranch")
    migrator.remove_model("GitCommit")
    migrator.remove_model("GitRepository")
