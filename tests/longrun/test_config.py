"""The config of the long run: which weights are kept for good, and what it costs to look at it."""

from pathlib import Path

from tubelet.training.config import DenoiserRun, read_run
from tubelet.training.known import measured_kinds

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "depth.toml"
FORWARD = 0.5  # of a training sample's cost: a third of its products, and not compiled
LEVELS, ASIDE = 5, 32  # noise levels of the main loss; clips of each other one


def test_the_weights_kept_for_good_are_those_of_the_powers_of_two():
    loop = read_run(DenoiserRun, CONFIG).loop
    assert [loop.schedule.steps / step for step in loop.keep_at] == [32, 16, 8, 4, 2, 1]
    assert loop.save_minutes == 10


def test_measuring_and_previews_cost_less_than_two_percent():
    run = read_run(DenoiserRun, CONFIG)
    others = len(run.data.other) + len(measured_kinds(run.known, 9, run.model.tubelet[0]))
    measured = LEVELS * run.data.held_out + ASIDE * others
    previews = 4 * 16 * 2  # prompts, steps, with and without words
    cost = (
        FORWARD
        * (measured / run.loop.held_out_every + previews / run.loop.preview_every)
        / run.loop.batch_size
    )
    assert cost < 0.015  # checkpoints come to it
