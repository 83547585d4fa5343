"""What the container's entry point does before it starts the server: every old script, one after the other."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent

for folder in ("migrations", "app/migrations"):
    for script in sorted((ROOT / folder).glob("[a-z]*.py")):
        path = str(ROOT / "data" / "template.db")
        subprocess.run([sys.executable, str(script)], env=os.environ | {"DATABASE_PATH": path}, check=True)
