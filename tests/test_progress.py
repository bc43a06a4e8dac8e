"""Progress on plain output."""

import pytest

from tubelet import progress as module
from tubelet.progress import duration, progress


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.9, "59s"), (200, "3m20s"), (7500, "2h05m")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_plain_lines_come_seldom_and_the_last_always(capsys, monkeypatch):
    now = iter([0.0, 1.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with progress("work", 4) as done:
        for number in range(1, 5):
            done(number)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["work: 2/4, 11s left", "work: 4/4, 0s left"]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True)
    with progress("work", 2) as done:
        done(2)
    assert "work" in capsys.readouterr().err
