"""The order of samples and the cache of encoded clips."""

import pytest
import torch

from tubelet.autoencoder.codec import CodecConfig, make_codec
from tubelet.data import latents
from tubelet.data.latents import chosen_captions, encode_clips
from tubelet.data.loader import batches, clip_of
from tubelet.data.world import WorldClips, WorldConfig
from tubelet.draws import stream
from tubelet.text.encoder import make_encoder


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
def clips() -> WorldClips:
    return WorldClips(WorldConfig(num_frames=5, height=16, width=16), 10)


def encoded(clips, cache, **changes):
    codec = make_codec(CodecConfig(kind="identity"))
    settings = {"phrasings": 2, "cache": cache, "codec_hash": "identity"} | changes
    return encode_clips(clips, codec, settings.pop("codec_hash"), make_encoder("bytes"), **settings)


def test_what_comes_back_is_what_was_encoded(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "SHARD", 4)
    monkeypatch.setattr(latents, "BATCH", 3)
    data, encoder = encoded(clips, tmp_path), make_encoder("bytes")
    assert (len(data), len(data.shards)) == (10, 3)
    for clip in (0, 3, 4, 9):
        frames = clips.frames(clip).permute(3, 0, 1, 2) / 127.5 - 1
        torch.testing.assert_close(data.posterior(clip).mean, frames, atol=5e-3, rtol=0)
        for phrasing, caption in enumerate(chosen_captions(clips.captions(clip), clip, 2)):
            wanted = encoder.encode([caption])
            text = data.text(clip, phrasing)
            assert text.mask.all()
            torch.testing.assert_close(text.tokens, wanted.tokens, atol=1e-2, rtol=1e-2)
            torch.testing.assert_close(text.whole, wanted.whole, atol=1e-2, rtol=1e-2)
    assert data.longest == max(data.text(c, p).tokens.shape[1] for c in range(10) for p in range(2))


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
