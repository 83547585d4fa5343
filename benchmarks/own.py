"""W7, in a process of its own: a fleet of the framework's fifteen histories, with plan cache and without, as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from benchmarks.harness import ROOT
from framework_schema import Config, Runner, installed, migrate_fleet

ROUNDS = 2
SETTINGS = {
    "framework-schema": Config(backup="never"),
    "framework-schema, no cache": Config(backup="never", plan_cache=False, template=False),
}


def main(copies: int, folder: Path) -> None:
    """Print seconds a database, a number a round."""
    sys.path.insert(0, str(ROOT / "tests"))
    import histories

    originals = histories.build_all(folder / "originals")
    found: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for number in range(ROUNDS):
        for name, config in SETTINGS.items():
            fleet = folder / f"fleet{number}"
            fleet.mkdir()
            paths = [
                shutil.copy(path, fleet / f"{path.stem}-{copy}.db") for path in originals for copy in range(copies)
            ]
            started = time.perf_counter()
            report = migrate_fleet(paths, [installed()[0]], jobs=1, config=config)
            found[name].append((time.perf_counter() - started) / len(paths))
            assert not report.failed, [failed.error for failed in report.failed]
            for path in paths:
                assert not Runner(path, [installed()[0]]).drift().additive
            shutil.rmtree(fleet)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
