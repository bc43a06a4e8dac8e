"""What the judge looks at, what holds by rule, and how a reading is held against what was asked for."""

import numpy as np
import pytest
import torch

from tubelet.errors import InputError
from tubelet.evaluation.scores import score
from tubelet.worlds.depth.clips import DepthClips
from tubelet.worlds.depth.config import DepthConfig
from tubelet.worlds.depth.judge.attributes import NOWHERE, STILL, WORDS, truth_in
from tubelet.worlds.depth.judge.compare import compared
from tubelet.worlds.depth.judge.network import FRAMES, Reader, ReaderConfig, Times, forms_of
from tubelet.worlds.depth.judge.reading import Reading, only, read_clip, scaled, seen_of, shipped

SMALL = DepthConfig(num_frames=17, height=64, width=64, fps=8.0)


def numbered(frames, height=4, width=4):
    """Frame k has the value k."""
    return np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, height, width, 3), np.uint8)


def sure(**words):
    """A reading that is certain of these words, and of None for the rest."""
    found = {name: dict.fromkeys(each, 0.0) for name, each in WORDS.items()}
    for name, told in words.items():
        told = told if isinstance(told, tuple) else (told,)
        found[name] |= {word: 0.9 / (k + 1) for k, word in enumerate(told)}
    return Reading(found)


# What is looked at


@pytest.mark.parametrize(
    ("frames", "fps", "seen"),
    [
        (17, 8.0, range(0, 17, 2)),
        (33, 16.0, range(0, 33, 4)),
        (17, 16.0, range(0, 17, 4)),
        (65, 16.0, range(0, 33, 4)),
        (5, 2.0, range(5)),
        (49, 24.0, range(0, 49, 6)),
        (12, 10.0, (0, 2, 5, 8, 10)),
        (1, 16.0, range(1)),
    ],
)
def test_frames_are_taken_four_a_second_for_two_seconds(frames, fps, seen):
    assert seen_of(numbered(frames), fps)[:, 0, 0, 0].tolist() == list(seen)


def test_the_central_square_is_looked_at():
    clip = np.zeros((1, 6, 10, 3), np.uint8)
    clip[:, :, 2:8] = 9
    assert seen_of(clip, 8.0).shape == (1, 6, 6, 3)
    assert (seen_of(clip, 8.0) == 9).all()
    assert (seen_of(clip.transpose(0, 2, 1, 3), 8.0) == 9).all()


def test_pixels_are_means_of_those_they_stand_for():
    clip = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8))
    means = clip.float().reshape(2, 64, 2, 64, 2, 3).mean((2, 4))
    torch.testing.assert_close(scaled(clip), means / 127.5 - 1)
    assert scaled(clip[:, :96, :96]).shape == (2, 64, 64, 3)
    assert scaled(torch.full((1, 40, 40, 3), 255, dtype=torch.uint8)).mean() == pytest.approx(1)


def test_what_is_no_clip_is_refused():
    with pytest.raises(InputError, match="uint8"):
        read_clip(np.zeros((2, 8, 8, 3)))
    with pytest.raises(InputError, match="fps"):
        read_clip(numbered(2), fps=0)


# The network


def test_a_frame_sees_as_many_frames_before_and_after_as_it_should():
    layer, x = Times(4, reach=2), torch.randn(1, 7, 1, 1, 4, requires_grad=True)
    layer(x)[0, 3].sum().backward()
    assert x.grad is not None
    assert x.grad[0, :, 0, 0].abs().sum(-1).nonzero().flatten().tolist() == [1, 3, 5]
    one = torch.randn(1, 1, 1, 1, 4)
    assert layer(one).shape == one.shape


def test_clips_of_a_batch_do_not_see_each_other():
    reader, clips = Reader(ReaderConfig(), WORDS).eval(), torch.randn(2, 3, 64, 64, 3)
    together, alone = reader(clips), reader(clips[1:])
    torch.testing.assert_close(together.where[1:], alone.where, atol=1e-5, rtol=1e-5)
    for name, row in alone.answers.items():
        assert row.shape == (1, len(WORDS[name]) + 1)
        torch.testing.assert_close(together.answers[name][1:], row, atol=1e-5, rtol=1e-5)


def test_a_body_is_described_by_its_size_place_extent_and_colour():
    share, colours = torch.zeros(1, 1, 8, 8, 3), torch.zeros(1, 1, 8, 8, 3)
    share[0, 0, 2:4, 4:8, 0] = 1  # two rows of four cells
    colours[0, 0, 2:4, 4:8] = torch.tensor([1.0, -0.5, 0.25])
    found = forms_of(share.flatten(2, 3), colours.flatten(2, 3))[0, 0]
    wide, tall = (5 / 4) ** 0.5 / 4, 1 / 8  # deviations of four and of two cells a quarter apart
    torch.testing.assert_close(
        found[0], torch.tensor([1.0, 0.5, -0.25, wide, tall, 1.0, -0.5, 0.25]), atol=0.02, rtol=0
    )
    assert (found[1:, [0, 1, 2, 5, 6, 7]] == 0).all()


def test_told_where_bodies_are_it_goes_by_that():
    reader, clip = Reader(ReaderConfig(), WORDS).eval(), torch.randn(2, 3, 64, 64, 3)
    known = torch.full((2, 3, 8, 8, 3), torch.nan)
    known[0] = 0
    told, free = reader(clip, known), reader(clip)
    torch.testing.assert_close(told.where, free.where)
    assert not torch.allclose(told.answers["event"][0], free.answers["event"][0])
    torch.testing.assert_close(told.answers["event"][1], free.answers["event"][1])


def test_the_shipped_reader_answers_with_todays_words():
    assert shipped().words == WORDS


# Readings


def test_an_answer_is_given_where_it_is_likelier_than_none():
    reading = Reading({"light": {"sunny": 0.3, "grey": 0.25}, "ground": {"sand": 0.4, "snow": 0.05}})
    assert (reading.word("light"), reading.word("ground")) == ("sunny", None)
    assert reading.words()["light"] == {"read": "sunny", "chance": 0.3}


def test_what_is_excluded_gives_its_chance_to_the_others():
    found = only({"rolls": 0.6, "shows": 0.1, "on": 0.1}, ("shows", "on"))
    assert found == pytest.approx({"rolls": 0.0, "shows": 0.4, "on": 0.4})


def test_a_clip_that_does_not_change_shows_no_event():
    clips = DepthClips(SMALL, 8)
    for i in range(8):
        reading = read_clip(np.repeat(clips.frames(i).numpy()[:1], FRAMES, axis=0), fps=8.0)
        assert reading.word("event") in (*STILL, None)
        assert reading.word("direction") in (NOWHERE, None)


# What was asked for


def scene(event="roll", number=0):
    """The attributes of the first clip that shows an event."""
    clips = DepthClips(SMALL, 400)
    every = (clips.attributes(i) for i in range(400))
    return next(each for each in every if each["event"] == event)


def test_a_perfect_reading_is_all_right_and_each_fault_is_one():
    wanted = scene("roll")
    truth = truth_in(wanted)
    rows = compared(sure(**truth), wanted)
    assert all(want == got for _, want, got in rows)
    assert [name for name, _, _ in rows][-1] == "all"
    for name in truth:
        wrong = compared(sure(**{**truth, name: ()}), wanted)
        assert {row[0] for row in wrong if row[1] != row[2]} == {row[0] for row in rows if name in row[0]} | {
            "all"
        }


def test_a_direction_is_asked_for_where_something_goes_somewhere():
    asked = {event: {row[0] for row in compared(sure(), scene(event))} for event in ("roll", "drop", "still")}
    assert "direction" in asked["roll"] and not {"direction"} & (asked["drop"] | asked["still"])


def test_both_colours_of_a_body_in_two_are_wanted_in_any_order():
    wanted = scene("roll") | {"light": "sunny"}
    body = wanted["bodies"][0] | {"colour": "red", "second": "blue", "pattern": "octants"}
    both, belt = (wanted | {"bodies": [body | {"pattern": pattern}]} for pattern in ("octants", "band"))

    def right(reading, asked):
        return next(want == got for name, want, got in compared(reading, asked) if name == "colour")

    assert right(sure(colour=("blue", "red")), both) and right(sure(colour=("red", "blue")), both)
    assert not right(sure(colour=("red", "green")), both) and not right(sure(colour="red"), both)
    assert right(sure(colour=("red", "blue")), belt) and not right(sure(colour=("blue", "red")), belt)


def test_colours_in_lights_that_change_them_are_a_row_of_their_own():
    names = {row[0] for row in compared(sure(), scene("roll") | {"light": "sunset"})}
    assert "dim colour" in names and "colour" not in names


def test_readings_are_scored_by_the_general_scores():
    clips = DepthClips(SMALL, 6)
    wishes = [clips.attributes(i) for i in range(6)]
    table = score(compared, [sure(**truth_in(wish)) for wish in wishes], wishes)
    assert all(row["accuracy"] == 1 for row in table.values())
