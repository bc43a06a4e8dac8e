"""What the tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("shared machine", deadline=None)  # speed is not a property of the code
settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave nothing in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user-cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, TUBELET_DATA or ../shared/data; tests that need it skip where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TUBELET_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set TUBELET_DATA to the folder of real data")
    return folder
