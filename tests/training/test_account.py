"""What a run has used, against logs written by hand."""

import json

import pytest

from tubelet.training.account import account_of, rate_of, words


def begin(time: float, step: int) -> dict:
    run = {"loop": {"batch_size": 8, "schedule": {"steps": 100}}}
    return {"event": "begin", "time": time, "step": step, "run": run, "parameters": 5, "flops_per_sample": 3}


def step(time: float, number: int, cpu: float) -> dict:
    return {"event": "step", "time": time, "step": number, "loss": 1.0, "cpu": cpu}


# Ten steps, killed; the second session repeats five of them and makes ten more at half the speed.
LOG = [
    begin(1000, 0), step(1010, 5, 9), step(1020, 10, 18),
    begin(2000, 5), step(2020, 10, 16), step(2040, 15, 33),
    {"event": "held_out", "time": 2041, "step": 15, "samples": 120, "held_out_loss": 0.5},
]  # fmt: skip


def test_repeated_work_costs_and_does_not_count():
    account = account_of(LOG)
    assert (account.step, account.samples, account.planned, account.sessions) == (15, 120, 800, 2)
    assert account.cpu == 18 + 33 and account.wall == 20 + 41
    assert account.flops == 3 * 120 and account.held_out == {"held_out_loss": 0.5} and not account.ended


def test_the_rate_is_that_of_the_last_seconds_of_the_last_session():
    assert rate_of(LOG, seconds=600) == pytest.approx(5 * 8 / 20)
    assert rate_of(LOG, seconds=1) == pytest.approx(5 * 8 / 20)  # at least one interval
    assert rate_of(LOG[:3], seconds=600) == pytest.approx(5 * 8 / 10)
    assert rate_of(LOG[:2], seconds=600) == 0


def test_before_the_first_step_there_is_no_account_and_no_rate():
    assert account_of([{"event": "sizes", "time": 1}]) is None
    assert account_of([]) is None and rate_of([], 10) == 0


def test_lines_that_a_kill_cut_short_are_passed_over(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join([*map(json.dumps, LOG), '{"event": "st']))
    assert words(file) == LOG


def test_the_end_has_the_last_measurements():
    account = account_of(
        [*LOG, {"event": "end", "time": 2050, "step": 15, "held_out": {"held_out_loss": 0.25}}]
    )
    assert account.ended and account.held_out == {"held_out_loss": 0.25}
