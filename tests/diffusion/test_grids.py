import itertools
import math

import pytest
import torch

from tubelet.diffusion.grids import GRIDS, LEAST, MOST, time_at, time_grid
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.times import shift_times
from tubelet.errors import InputError


def levels(times, path):
    """sigma / alpha at the times, without those of the ends."""
    t = torch.tensor(times[1:-1], dtype=torch.float64)
    return path.sigma(t) / path.alpha(t)


def first_level(path):
    """What the grids count from."""
    one = torch.ones((), dtype=torch.float64)
    return (path.sigma(one) / path.alpha(one)).item() if path.alpha(one) else MOST


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", PATHS)
def test_a_time_grid_falls_from_1_to_0(name, grid):
    for steps, shift in itertools.product([1, 2, 30, 300], [0.1, 1.0, 3.0, 12.0]):
        times = time_grid(steps, shift, grid, make_path(name))
        assert len(times) == steps + 1 and times[0] == 1 and times[-1] == 0
        in_float32 = torch.tensor(times, dtype=torch.float32).tolist()  # as a network will see them
        assert all(t > s for t, s in itertools.pairwise(in_float32))


def test_a_uniform_grid_hits_the_steps_of_the_paper():
    assert time_grid(1000) == [n / 1000 for n in range(1000, -1, -1)]
    assert time_grid(4, 3.0) == pytest.approx([1, 0.9, 0.75, 0.5, 0])


@pytest.mark.parametrize("name", PATHS)
def test_a_log_snr_grid_is_even_in_log_snr(name):
    path = make_path(name)
    log_snr = -2 * levels(time_grid(20, name="log_snr", path=path), path).log()  # [19]
    expected = torch.linspace(-2 * math.log(first_level(path)), -2 * math.log(LEAST), 20).double()[1:]
    torch.testing.assert_close(log_snr, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", PATHS)
def test_a_karras_grid_is_that_of_edm(name):
    path, n = make_path(name), 20
    found = levels(time_grid(n, name="karras", path=path), path)  # [19]
    most = first_level(path)
    expected = [
        (most ** (1 / 7) + i / (n - 1) * (LEAST ** (1 / 7) - most ** (1 / 7))) ** 7 for i in range(1, n)
    ]
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("grid", GRIDS)
def test_any_grid_can_be_shifted(grid):
    path = make_path("rectified_flow")
    plain = torch.tensor(time_grid(10, 1.0, grid, path), dtype=torch.float64)
    assert time_grid(10, 5.0, grid, path) == pytest.approx(shift_times(plain, 5.0).tolist(), rel=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_a_time_is_found_by_its_log_snr(name):
    path = make_path(name)
    t = torch.tensor([[1e-9, 1e-4], [0.31, 0.9995]], dtype=torch.float64)
    torch.testing.assert_close(time_at(path, path.log_snr(t)), t, rtol=1e-11, atol=0)
    assert time_at(path, torch.tensor(-math.inf)).item() == 1


@pytest.mark.parametrize("steps", [0, -3])
def test_a_time_grid_without_steps_is_refused(steps):
    with pytest.raises(InputError, match="--num-inference-steps"):
        time_grid(steps)


def test_an_unknown_grid_is_answered_with_the_near_miss():
    with pytest.raises(InputError, match="unknown grid 'karas': did you mean 'karras'"):
        time_grid(4, name="karas")


def test_a_grid_in_noise_needs_a_path():
    with pytest.raises(InputError, match="pass path"):
        time_grid(4, name="log_snr")
