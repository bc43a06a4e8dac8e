"""The examples, run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_method_alone_stays_under_100_lines():
    assert len((EXAMPLES / "ddpm_on_two_points.py").read_text(encoding="utf-8").splitlines()) < 100


@pytest.mark.slow
def test_two_points_are_learned_half_and_half_at_little_more_than_one_bit(tmp_path):
    pytest.importorskip("matplotlib")
    script, picture = EXAMPLES / "ddpm_on_two_points.py", tmp_path / "points.png"
    command = [sys.executable, str(script), "-o", str(picture), "--steps", "1500"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    bound = re.search(r"^bound ([\d.]+) ± ([\d.]+), entropy of the data 1$", result.stdout, flags=re.M)
    shares = re.search(r"^samples at -1 and 1: ([\d.]+) ([\d.]+)$", result.stdout, flags=re.M)
    assert bound and shares, result.stdout
    assert 1 < float(bound[1]) < 1.3 and float(bound[2]) < 0.01
    assert [float(share) for share in shares.groups()] == pytest.approx([0.5, 0.5], abs=0.05)
    assert picture.stat().st_size > 10_000


@pytest.mark.slow
def test_a_video_flows_through_the_shipped_model(tmp_path):
    pytest.importorskip("matplotlib")
    script, picture = EXAMPLES / "a_video_flowing_through.py", tmp_path / "flow.png"
    result = subprocess.run(
        [sys.executable, str(script), "--out", str(picture)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert picture.stat().st_size > 50_000


@pytest.mark.slow
def test_the_world_in_depth_shows_itself(tmp_path):
    script, picture = EXAMPLES / "depth_world.py", tmp_path / "world.jpg"
    command = [sys.executable, str(script), "--out", str(picture), "--size", "32"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert picture.stat().st_size > 50_000
