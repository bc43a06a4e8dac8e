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


def test_every_epoch_visits_every_clip_once_in_its_own_order():
    epochs = [[clip_of(0, e * 10 + i, 10) for i in range(10)] for e in range(2)]
    assert [sorted(e) for e in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    assert [clip_of(1, i, 10) for i in range(10)] != epochs[0]
