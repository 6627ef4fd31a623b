"""Where tests keep what they build or fetch once: outside the tree."""

import os
from pathlib import Path


def cache() -> Path:
    """Return $WGPY_TEST_CACHE, else $XDG_CACHE_HOME/wgpy-tests, else ~/.cache/wgpy-tests.

    The folder is made if it is missing.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("WGPY_TEST_CACHE") or Path(base) / "wgpy-tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()
