"""Scores count what was asked for, whatever the judge, and have the textbook's intervals."""

import pytest

from tubelet.errors import InputError
from tubelet.evaluation.scores import score, shuffled_score, wilson

WISHES = [{"colour": "red", "light": "night"}, {"colour": "blue", "light": None}, {"colour": "red"}]


def compare(reading, wanted):
    """A judge of words that stand under the same names."""
    return [(name, want, reading.get(name)) for name, want in wanted.items() if want is not None]


def test_each_attribute_counts_where_it_was_asked_for_and_chance_is_its_most_common_answer():
    table = score(compare, [{"colour": "red", "light": "day"}, {"colour": "blue"}, {}], WISHES)
    assert set(table) == {"colour", "light"}
    assert table["colour"] == {
        "accuracy": pytest.approx(2 / 3),
        "count": 3,
        "low": pytest.approx(wilson(2, 3)[0]),
        "high": pytest.approx(wilson(2, 3)[1]),
        "chance": pytest.approx(2 / 3),
    }
    assert (table["light"]["accuracy"], table["light"]["count"], table["light"]["chance"]) == (0, 1, 1)


def test_shuffling_pairs_each_reading_with_every_other_wish():
    table = shuffled_score(compare, WISHES, WISHES)
    assert table == {"colour": pytest.approx(2 / 6), "light": 0}


def test_as_many_readings_as_clips():
    with pytest.raises(InputError, match="0 readings"):
        score(compare, [], [])
    with pytest.raises(InputError, match="1 readings for 3"):
        score(compare, [{}], WISHES)
    with pytest.raises(InputError, match="two or more"):
        shuffled_score(compare, [{}], WISHES[:1])


def test_wilson_interval_has_the_textbook_values():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
