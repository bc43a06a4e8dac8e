"""The order of samples, and batches of them by workers."""

import pytest

from tubelet.data.loader import batches, clip_of
from tubelet.draws import stream


def fetch(number: int) -> dict:
    return {"number": number, "draw": stream(1, number).random()}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers_or_on_where_they_start(workers):
    whole = list(batches(fetch, list, start=0, stop=24, size=4, workers=0))
    again = list(batches(fetch, list, start=8, stop=24, size=4, workers=workers))
    assert again == whole[2:]


def test_clips_that_become_available_later_change_nothing_before_and_are_visited_like_the_others():
    later = ((0, 0.25), (13, 1.0))
    few = [clip_of(0, number, 40, later) for number in range(13)]
    assert few == [clip_of(0, number, 10) for number in range(13)]
    epochs = [[clip_of(0, 13 + e * 40 + i, 40, later) for i in range(40)] for e in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(40))] * 2 and epochs[0] != epochs[1]
    assert clip_of(0, 5, 1, later) == 0  # there is always one


def test_every_epoch_visits_every_clip_once_in_its_own_order():
    epochs = [[clip_of(0, e * 10 + i, 10) for i in range(10)] for e in range(2)]
    assert [sorted(e) for e in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    assert [clip_of(1, i, 10) for i in range(10)] != epochs[0]
