"""What the tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("shared machine", deadline=None)  # speed is not a property of the code
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, TUBELET_DATA or ../shared/data; tests that need it skip where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TUBELET_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set TUBELET_DATA to the folder of real data")
    return folder
