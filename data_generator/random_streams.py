"""Independent random numbers by name: drawing more of one thing never shifts another."""

from __future__ import annotations

import zlib

import numpy as np


def random_stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator that belongs to `seed` and `names`, the same in every process and on every machine."""
    words = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, *words])))
