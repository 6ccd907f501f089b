"""The pictures of the README: each is there, is small, and is shown."""

from __future__ import annotations

import re

from config.loader import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs" / "pictures"


def test_the_readme_shows_every_picture_and_each_is_small() -> None:
    shown = re.findall(r"\]\(docs/pictures/([^)]+)\)", (PROJECT_ROOT / "README.md").read_text(encoding="utf-8"))
    files = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert len(shown) >= 7
    assert set(shown) == set(files)
    assert all(size < 200_000 for size in files.values())
