"""The order of samples and the cache of encoded clips."""

import hashlib
import json

import pytest
import torch

from tubelet.autoencoder.codec import CodecConfig, make_codec
from tubelet.data import latents
from tubelet.data.latents import chosen_captions, encode_clips
from tubelet.data.loader import batches, clip_of
from tubelet.draws import stream
from tubelet.text.encoder import make_encoder
from tubelet.video import to_video
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig


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


@pytest.fixture
def clips() -> ShapesClips:
    return ShapesClips(ShapesConfig(num_frames=5, height=16, width=16), 10)


def encoded(clips, cache, codec=None, **changes):
    codec = codec or make_codec(CodecConfig(kind="identity"))
    settings = {"phrasings": 2, "cache": cache, "codec_hash": "identity"} | changes
    return encode_clips(clips, codec, settings.pop("codec_hash"), make_encoder("bytes"), **settings)


def test_what_comes_back_is_what_was_encoded(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "SHARD", 4)
    monkeypatch.setattr(latents, "BATCH", 3)
    data, encoder = encoded(clips, tmp_path), make_encoder("bytes")
    assert (len(data), len(data.shards)) == (10, 3)
    for clip in (0, 3, 4, 9):
        assert torch.equal(data.posterior(clip).mean, to_video(clips.frames(clip))[0])
        for phrasing, caption in enumerate(chosen_captions(clips.captions(clip), clip, 2)):
            wanted = encoder.encode([caption])
            text = data.text(clip, phrasing)
            assert text.mask.all()
            torch.testing.assert_close(text.tokens, wanted.tokens, atol=1e-2, rtol=1e-2)
            torch.testing.assert_close(text.whole, wanted.whole, atol=1e-2, rtol=1e-2)
    assert data.longest == max(data.text(c, p).tokens.shape[1] for c in range(10) for p in range(2))


class EveryLevel(ShapesClips):
    """Clips in which each of the 256 values of a byte occurs."""

    def frames(self, index: int) -> torch.Tensor:
        """All bytes in a row, turned by the clip's number."""
        return torch.arange(5 * 16 * 16 * 3).add(index).view(5, 16, 16, 3).byte()


def test_pixels_are_kept_bit_for_bit_and_compactly(tmp_path):
    clips = EveryLevel(ShapesConfig(num_frames=5, height=16, width=16), 3)
    encoded(clips, tmp_path)
    data = encoded(clips, tmp_path)  # read back
    for clip in range(3):
        video = to_video(clips.frames(clip))[0]
        posterior = data.posterior(clip)
        assert posterior.mean.dtype == torch.float32 and torch.equal(posterior.mean, video)
        assert torch.equal(posterior.log_var.expand_as(video), torch.full_like(video, -torch.inf))
        assert torch.equal(posterior.sample(torch.randn(video.shape)), video)
    assert {n: t.dtype for n, t in data.shards[0].items() if n in ("frames", "mean", "log_var")} == {
        "frames": torch.uint8
    }


def test_latents_of_a_learnt_codec_are_kept_as_before(clips, tmp_path):
    config = CodecConfig(latent_channels=4, widths=(8, 8), encoder_depths=(1, 1), decoder_depths=(1, 1))
    codec = make_codec(config).eval()
    data = encoded(clips, tmp_path, codec, codec_hash="abc")
    kinds = {name: tensor.dtype for name, tensor in data.shards[0].items()}
    bf16 = dict.fromkeys(["mean", "log_var", "tokens", "whole"], torch.bfloat16)
    assert kinds == {**bf16, "starts": torch.int64}
    # The folder's name as it was when the first caches were filled: theirs took hours.
    parts = [1, clips.fingerprint, 10, "abc", make_encoder("bytes").fingerprint, 2]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    assert [folder.name for folder in tmp_path.iterdir()] == [key]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = codec.encode(to_video(torch.stack([clips.frames(i) for i in range(10)])))
    for clip in (0, 9):
        posterior = data.posterior(clip)
        assert torch.equal(posterior.mean, wanted.mean[clip].bfloat16().float())
        assert torch.equal(posterior.log_var, wanted.log_var[clip].bfloat16().float())


def test_the_cache_is_read_and_is_keyed_by_what_it_depends_on(clips, tmp_path, monkeypatch):
    encoded(clips, tmp_path)
    encoded(clips, tmp_path, codec_hash="other")
    encoded(clips, tmp_path, phrasings=1)
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.setattr(latents, "_encode_shard", None)
    assert len(encoded(clips, tmp_path)) == 10


def test_an_interrupted_encoding_goes_on(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "SHARD", 4)
    done = []

    def stop(count: int) -> None:
        done.append(count)
        if count == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoded(clips, tmp_path, progress=stop)
    whole, made = latents._encode_shard, []
    monkeypatch.setattr(latents, "_encode_shard", lambda *a: made.append(a[1]) or whole(*a))
    assert len(encoded(clips, tmp_path)) == 10
    assert [list(numbers) for numbers in made] == [[8, 9]]
