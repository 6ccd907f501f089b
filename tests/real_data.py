"""Where the real data lie that are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

from config.loader import PROJECT_ROOT

DATA_DIR = Path(os.environ.get("LAKEHOUSE_DATA_DIR", PROJECT_ROOT.parent / "shared" / "data"))
MISSING = f"{DATA_DIR} is not there (LAKEHOUSE_DATA_DIR)"
