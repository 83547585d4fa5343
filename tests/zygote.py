"""A process that has loaded everything and forks a child for each action, so that many can be killed in little time.

``kill_after`` is how many seconds a child lives; ``kill_at`` the number of the
statement, commits counted, with which it ends: an even number before it is
sent, an odd one when its answer has come. ``disk`` is what ``disk_fails`` of
failing_disk.c gets, where that is loaded.
"""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

TEXT = '''
import ctypes, json, os, signal, sys, tempfile, time
import peewee as pw
from framework_schema.config import Config
from framework_schema.fleet import migrate_fleet
from framework_schema.runner import Runner
from framework_schema.sources import Folder, installed
from framework_schema.transfer import copy

def sources(given):
    if given.get("as_app"):
        return (*installed(), Folder(given["folder"], "app", ("framework",)))
    return [Folder(given["folder"])] if given["folder"] else None

def runner(target, given):
    return Runner(target, sources(given), config=Config(timeout=60, **given["settings"]))

ACTIONS = {
    "migrate": lambda target, given: runner(target, given).migrate(),
    "strict": lambda target, given: runner(target, given).migrate(strict=True, repair=True),
    "backup": lambda target, given: runner(target, given).backup(),
    "rollback": lambda target, given: runner(target, given).rollback(steps=3, force=True),
    "undo": lambda target, given: runner(target, given).rollback(to=given["to"]),
    "fleet": lambda target, given: migrate_fleet(
        given["members"], sources(given), jobs=1, config=Config(timeout=60, **given["settings"])
    ),
    "restore": lambda target, given: runner(target, given).restore(str(target) + ".made"),
    "copy": lambda target, given: copy(
        given["source"], target, sources=sources(given), rejects=given["rejects"], batch=50, config=Config(timeout=60)
    ),
}
WANTED = {
    "fleet": lambda told: not told.failed,
    "copy": lambda told: not told.left and all(table.is_equal for table in told.tables),
}

def was_wanted(action, told):
    if action in WANTED:
        return WANTED[action](told)
    states = ("migrated", "current", "pending" if action == "restore" else "")
    return str(getattr(told, "state", "current")) in states

def end_at(number):
    """Die with the given statement."""
    seen = 0
    def counted(real):
        def call(*args, **kwargs):
            nonlocal seen
            seen += 1
            if number == 2 * seen:
                os.kill(os.getpid(), signal.SIGKILL)
            found = real(*args, **kwargs)
            if number == 2 * seen + 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return found
        return call
    for name in ("execute_sql", "commit"):
        setattr(pw.Database, name, counted(getattr(pw.Database, name)))
    return lambda: 2 * seen

with tempfile.TemporaryDirectory() as place:
    Runner(place + "/warm.db").migrate(strict=True)

for line in sys.stdin:
    given = json.loads(line)
    read, write = os.pipe()
    told_read, told_write = os.pipe()
    children = []
    for target in given["targets"]:
        pid = os.fork()
        if not pid:
            os.close(write)
            os.read(read, 1)
            statements = end_at(given["kill_at"])
            if given.get("disk"):
                disk = ctypes.CDLL(None)
                statements = disk.disk_calls
                disk.disk_fails(*given["disk"])
            try:
                told = ACTIONS[given["action"]](target, given)
                os.write(told_write, str(statements()).encode())
                os._exit(0 if was_wanted(given["action"], told) else 5)
            except BaseException as error:
                os.write(told_write, f"{statements()} {error!r}"[:4000].encode())
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(4)
        children.append(pid)
    os.close(read)
    os.close(told_write)
    started = time.perf_counter()
    os.close(write)
    if given["kill_after"] is not None:
        time.sleep(given["kill_after"])
        for pid in children:
            os.kill(pid, signal.SIGKILL)
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    statements, _, said = os.read(told_read, 4100).decode(errors="replace").partition(" ")
    os.close(told_read)
    seconds = time.perf_counter() - started
    print(json.dumps([ends, seconds, int(statements) if len(children) == 1 and statements else 0, said]), flush=True)
'''


@contextmanager
def started(**environment):
    """Give a function that lets children do an action on targets, and returns their exit codes and the seconds.

    One child alone tells the number of its statements, doubled, or of its calls to the disk, and its error as well.
    """
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    command = [sys.executable, "-c", TEXT]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, env=os.environ | environment, text=True) as process:

        def run(action, *targets, kill_after=None, kill_at=None, folder=None, settings=None, **more):
            given = {
                "action": action, "targets": list(map(str, targets)), "kill_after": kill_after, "kill_at": kill_at,
                "folder": folder and str(folder), "settings": settings or {}, **more,
            }  # fmt: skip
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield run
        process.stdin.close()
