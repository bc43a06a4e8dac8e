import math
from itertools import permutations

import pytest
import torch

from tubelet.diffusion.guidance import guide
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.targets import TARGETS, convert
from tubelet.errors import InputError


def test_0_ignores_the_prompt_and_1_is_the_model_as_trained_to_the_bit():
    conditional, unconditional = torch.randn(2, 3, 4, 5)
    assert torch.equal(guide(conditional, unconditional, 0), unconditional)
    assert torch.equal(guide(conditional, unconditional, 1), conditional)


@pytest.mark.parametrize("w", [-0.5, 0.5, 3.0])
def test_the_scale_is_1_plus_w_of_the_paper(w):
    conditional, unconditional = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = (1 + w) * conditional - w * unconditional
    torch.testing.assert_close(guide(conditional, unconditional, 1 + w), expected)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("frm", "to"), [*permutations(TARGETS, 2)])
def test_guiding_and_converting_commute(name, frm, to):
    path, t = make_path(name), torch.tensor([0.2, 0.7], dtype=torch.float64)
    xt, conditional, unconditional = torch.randn(3, 2, 4, dtype=torch.float64)
    guided_first = convert(guide(conditional, unconditional, 4.0), frm, to, path, xt, t)
    converted = [convert(prediction, frm, to, path, xt, t) for prediction in (conditional, unconditional)]
    torch.testing.assert_close(guided_first, guide(*converted, 4.0))


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_scale_that_is_not_finite_is_refused(scale):
    with pytest.raises(InputError, match="--guidance-scale"):
        guide(torch.zeros(1), torch.zeros(1), scale)
