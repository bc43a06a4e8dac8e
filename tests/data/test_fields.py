"""What a renderer knows of each token: means over its own pixels, computed once."""

import torch
from torch import Tensor

from tubelet.data import fields
from tubelet.data.fields import by_token, known_fields
from tubelet.model.tubelets import Grid

GRID = Grid(2, 2, 3)


class Told:
    """Clips whose fields are numbers by clip, frame and place; counts how often it is asked."""

    fingerprint, asked = "told", 0

    def __len__(self) -> int:
        return 5

    def fields(self, index: int, height: int, width: int) -> Tensor:
        self.asked += 1
        assert (height, width) == (2 * fields.DETAIL, 3 * fields.DETAIL)
        frame = torch.arange(5.0).view(5, 1, 1, 1).expand(5, height, width, 1)
        return torch.cat([frame, torch.full_like(frame, index)], -1)


def test_the_first_frame_is_a_latent_of_its_own_and_each_next_one_has_the_mean_of_four():
    frame = torch.arange(9.0).view(9, 1, 1, 1).expand(9, 4, 6, 1)
    assert by_token(frame, Grid(3, 2, 3), 4).view(3, 6)[:, 0].tolist() == [0, 2.5, 6.5]
    assert by_token(frame[:5], Grid(1, 2, 3), 4).unique().tolist() == [1.25]  # a tubelet of two latents
    assert by_token(frame[:1], Grid(1, 2, 3), 4).unique().tolist() == [0]


def test_tokens_are_numbered_columns_fastest_and_hold_the_mean_of_their_place():
    place = torch.zeros(1, 4, 6, 1)
    place[0, 0, 2, 0], place[0, 3, 5, 0], place[0, 3, 4, 0] = 4, 4, 8
    assert by_token(place, Grid(1, 2, 3), 4).flatten().tolist() == [0, 1, 0, 0, 0, 3]


def test_fields_are_kept_have_a_mean_square_of_one_and_are_asked_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr(fields, "SHARD", 2)
    clips, done = Told(), []
    first = known_fields(clips, GRID, 4, tmp_path, progress=done.append)
    assert clips.asked == 5 and done == [2, 4, 5]
    again = known_fields(clips, GRID, 4, tmp_path)
    assert clips.asked == 5
    assert all(torch.equal(first.of(i), again.of(i)) for i in range(5))
    scale = torch.tensor([(2.5**2 / 2) ** 0.5, (1 / 2) ** 0.5])  # of the first shard, clips 0 and 1
    torch.testing.assert_close(first.of(4), torch.tensor([[0.0, 4.0]] * 6 + [[2.5, 4.0]] * 6) / scale)


def test_a_file_that_was_changed_is_said_and_its_clips_are_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(fields, "SHARD", 2)
    clips, said = Told(), []
    first = known_fields(clips, GRID, 4, tmp_path)
    file = sorted(tmp_path.glob("*/*.safetensors"))[1]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    again = known_fields(clips, GRID, 4, tmp_path, say=said.append)
    assert len(said) == 1 and file.name in said[0]
    assert 5 < clips.asked <= 7
    assert all(torch.equal(first.of(i), again.of(i)) for i in range(5))


def test_clips_that_are_not_ready_are_drawn_when_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(fields, "SHARD", 2)
    clips = Told()
    found = known_fields(clips, GRID, 4, tmp_path, ready=1)
    assert clips.asked == 2
    found.of(4)
    assert clips.asked == 3


def test_other_clips_and_other_grids_are_drawn_anew(tmp_path):
    known_fields(Told(), GRID, 4, tmp_path)
    other = Told()
    other.fingerprint = "others"
    known_fields(other, GRID, 4, tmp_path)
    assert other.asked == 5
    same = Told()
    known_fields(same, GRID, 4, tmp_path)
    assert same.asked == 0
    known_fields(same, Grid(1, 2, 3), 4, tmp_path)
    assert same.asked == 5


def test_clips_of_which_nobody_knows_more_have_none(tmp_path):
    assert known_fields(object(), GRID, 4, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_field_that_is_always_zero_stays_zero(tmp_path):
    class Still(Told):
        def fields(self, index: int, height: int, width: int) -> Tensor:
            return torch.zeros(5, height, width, 3)

    found = known_fields(Still(), GRID, 4, tmp_path)
    assert found is not None and found.of(0).eq(0).all()
