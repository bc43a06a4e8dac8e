"""What was asked for is held against what was read, and objects are matched whatever their order."""

import dataclasses

import pytest

from tubelet.evaluation.scores import score
from tubelet.worlds.shapes.judge.compare import compared
from tubelet.worlds.shapes.judge.prompt_fit import read_clip
from worlds.shapes.drawn import BLUE, RED, disc, ground, laid, pixels, round_cover

SEEN = {
    "shape": "circle",
    "colour": "red",
    "to_colour": None,
    "size": "medium",
    "motion": "stays",
    "speed": None,
}
OTHER = SEEN | {"colour": "blue"}
GREY = {"kind": "plain", "colours": ["grey"], "direction": None}


def wish(*objects, **more):
    return {
        "count": len(objects),
        "objects": list(objects),
        "relation": None,
        "background": GREY,
        "pan": None,
    } | more


@pytest.fixture(scope="module")
def single():
    return read_clip(disc())


@pytest.fixture(scope="module")
def pair():
    """A red circle left of a blue one."""
    return read_clip(
        pixels(laid(laid(ground(), round_cover(16, 30, 10), RED), round_cover(46, 30, 10), BLUE))
    )


def right(reading, wanted):
    return {name: row["accuracy"] for name, row in score(compared, [reading], [wanted]).items()}


def test_everything_right_is_one_and_what_was_not_asked_for_is_left_out(single):
    table = right(single, wish(SEEN))
    assert set(table) == {"shape", "colour", "size", "motion", "background", "count", "both", "all"}
    assert set(table.values()) == {1.0}


@pytest.mark.parametrize(
    "name,value",
    [("shape", "ring"), ("colour", "pink"), ("size", "small"), ("motion", "grows"), ("speed", "slow")],
)
def test_one_wrong_attribute_is_wrong_alone_and_in_all(single, name, value):
    table = right(single, wish(SEEN | {name: value}))
    wrong = {key for key, value in table.items() if value == 0}
    assert wrong == {name, "all"} | ({"both"} if name in ("colour", "motion") else set())


def test_a_background_is_right_as_far_as_it_was_asked_for(single):
    for ground_wish in ({"kind": "dots"}, {"colours": ["teal"]}, {"direction": "diagonal"}):
        assert right(single, wish(SEEN, background=GREY | ground_wish))["background"] == 0
    assert right(single, wish(SEEN, background={"kind": "plain"}))["background"] == 1


def test_two_objects_are_matched_whatever_their_order(pair):
    assert pair.relation == "left of"
    for objects in ((SEEN, OTHER), (OTHER, SEEN)):
        table = right(pair, wish(*objects))
        assert set(table.values()) == {1.0} and "relation" not in table and "both" not in table
    assert right(pair, wish(SEEN, OTHER, relation="left of"))["relation"] == 1
    assert right(pair, wish(OTHER, SEEN, relation="left of"))["relation"] == 0
    assert right(pair, wish(SEEN, OTHER, relation="above"))["relation"] == 0


def test_one_object_where_two_were_wanted_is_half_right(single):
    table = right(single, wish(OTHER, SEEN, relation="above"))
    assert (table["colour"], table["shape"], table["count"], table["relation"]) == (0.5, 0.5, 0, 0)


def test_where_one_was_wanted_the_main_of_two_is_judged(pair):
    main = dataclasses.replace(pair, main=1)
    assert right(main, wish(OTHER))["colour"] == 1 and right(main, wish(OTHER))["count"] == 0
    assert right(main, wish(SEEN))["colour"] == 0


def test_what_is_not_found_counts_as_wrong(single):
    asked = [{"objects": [{"colour": "red", "motion": "stays"}]}] * 2
    table = score(compared, [single, read_clip(disc(alpha=0.0))], asked)
    assert table["both"]["accuracy"] == 0.5 and table["both"]["count"] == 2 and table["both"]["chance"] == 1
