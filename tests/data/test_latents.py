"""The cache of encoded clips: what comes back, and what is encoded again when something has changed."""

import json
from pathlib import Path

import pytest
import torch

from tubelet.autoencoder.codec import CodecConfig, make_codec
from tubelet.data import latents
from tubelet.data.clips import FolderClips, write_clips
from tubelet.data.latents import Span, chosen_captions, encode_clips
from tubelet.data.views import LabelledClips, ResizedClips
from tubelet.errors import InputError
from tubelet.text.encoder import make_encoder
from tubelet.video import to_video, write_video
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

CODEC = CodecConfig(latent_channels=4, widths=(8, 8), encoder_depths=(1, 1), decoder_depths=(1, 1))
WORLD = ShapesConfig(num_frames=5, height=16, width=16)


@pytest.fixture
def clips() -> ShapesClips:
    return ShapesClips(WORLD, 10)


@pytest.fixture
def small(monkeypatch) -> None:
    """Several files for a few clips."""
    monkeypatch.setattr(latents, "SHARD", 4)
    monkeypatch.setattr(latents, "BATCH", 3)


@pytest.fixture
def made(monkeypatch) -> dict[str, int]:
    """How many captions and how many pieces of clips have been encoded."""
    counts = {"captions": 0, "pieces": 0}
    encoded, encoded_captions = latents._encoded, latents._encoded_captions

    def pieces(frames, codec):
        counts["pieces"] += len(frames)
        return encoded(frames, codec)

    def captions(wanted, encoder):
        counts["captions"] += len(wanted)
        return encoded_captions(wanted, encoder)

    monkeypatch.setattr(latents, "_encoded", pieces)
    monkeypatch.setattr(latents, "_encoded_captions", captions)
    return counts


def encoded(clips, cache, codec=None, **changes):
    codec = codec or make_codec(CodecConfig(kind="identity"))
    settings = {"phrasings": 2, "cache": cache, "codec_hash": "identity"} | changes
    return encode_clips(clips, codec, settings.pop("codec_hash"), make_encoder("bytes"), **settings)


def files(cache: Path, kind: str = "latents") -> list[Path]:
    return sorted(cache.glob(f"{kind}-*/*.safetensors"))


# What comes back


def test_what_comes_back_is_what_was_encoded(clips, tmp_path, small):
    data, encoder = encoded(clips, tmp_path), make_encoder("bytes")
    assert (len(data), len(files(tmp_path)), len(files(tmp_path, "text"))) == (10, 3, 3)
    for clip in (0, 3, 4, 9):
        assert torch.equal(data.posterior(clip).mean, to_video(clips.frames(clip))[0])
        for phrasing, caption in enumerate(chosen_captions(clips.captions(clip), clip, 2)):
            wanted, text = encoder.encode([caption]), data.text(clip, phrasing)
            assert text.mask.all() and text.tokens.dtype == torch.float32
            step = torch.cat([wanted.tokens, wanted.whole[:, None]], 1).abs().amax() / 127
            torch.testing.assert_close(text.tokens, wanted.tokens, atol=float(0.51 * step), rtol=0)
            torch.testing.assert_close(text.whole, wanted.whole, atol=float(0.51 * step), rtol=0)
    assert data.longest == max(data.text(c, p).tokens.shape[1] for c in range(10) for p in range(2))
    with pytest.raises(IndexError):
        data.posterior(10)


def test_labels_have_no_tokens_and_come_back_exactly(clips, tmp_path):
    names = sorted({LabelledClips(clips, "shape").captions(i)[0] for i in range(10)})
    encoder = make_encoder("labels:" + ",".join(names))
    codec = make_codec(CodecConfig(kind="identity"))
    labelled = LabelledClips(clips, "shape")
    data = encode_clips(labelled, codec, "identity", encoder, phrasings=1, cache=tmp_path)
    assert data.longest == 0
    for clip in range(10):
        assert torch.equal(data.text(clip, 0).whole, encoder.encode(labelled.captions(clip)).whole)


class EveryLevel(ShapesClips):
    """Clips in which each of the 256 values of a byte occurs."""

    def frames(self, index: int) -> torch.Tensor:
        """All bytes in a row, turned by the clip's number."""
        return torch.arange(5 * 16 * 16 * 3).add(index).view(5, 16, 16, 3).byte()


def test_pixels_are_kept_bit_for_bit(tmp_path):
    clips = EveryLevel(WORLD, 3)
    encoded(clips, tmp_path)
    data = encoded(clips, tmp_path)  # read back
    for clip in range(3):
        video, posterior = to_video(clips.frames(clip))[0], data.posterior(clip)
        assert posterior.mean.dtype == torch.float32 and torch.equal(posterior.mean, video)
        assert torch.equal(posterior.log_var.expand_as(video), torch.full_like(video, -torch.inf))
        assert torch.equal(posterior.sample(torch.randn(video.shape)), video)
    with pytest.raises(InputError, match="frames of a model of pixels"):
        encoded(clips, tmp_path, spans=lambda _: [Span(4)])


def spans(index: int) -> list[Span]:
    return [[], [Span(4)], [Span(0), Span(8, 1), Span(4, 5)]][index % 3]


def test_latents_and_parts_are_those_of_the_codec(tmp_path, small):
    clips, codec = ShapesClips(ShapesConfig(num_frames=9, height=16, width=16), 10), make_codec(CODEC).eval()
    torch.nn.init.normal_(codec.encoder["head"].weight, std=0.3)  # posteriors whose variances differ
    data = encoded(clips, tmp_path, codec, codec_hash="abc", spans=spans)
    for clip in (0, 1, 2, 8):
        for span in (None, *spans(clip)):
            frames = clips.frames(clip)
            frames = frames if span is None else frames[span.first : span.first + span.count]
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                wanted = codec.encode(to_video(frames[None]))
            found = data.posterior(clip) if span is None else data.part(clip, span)
            assert found.mean.shape == wanted.mean.shape[1:] and found.log_var.shape == (
                *found.mean.shape[:2],
                1,
                1,
            )
            torch.testing.assert_close(found.mean, wanted.mean[0].float(), atol=2e-2, rtol=1e-2)
            power = (
                wanted.var[0].float().mean((2, 3), keepdim=True)
            )  # the noise of a channel and frame of latents
            torch.testing.assert_close(found.var, power, rtol=1e-2, atol=0)
    with pytest.raises(KeyError):
        data.part(1, Span(8))


def test_what_is_read_is_not_kept_in_memory(clips, tmp_path):
    data = encoded(clips, tmp_path)
    for clip in range(10):
        data.posterior(clip), data.text(clip, 0)
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text()


# What is encoded again


def test_nothing_is_encoded_twice_and_everything_by_its_content(clips, tmp_path, made, small):
    encoded(clips, tmp_path)
    assert made == {"captions": 20, "pieces": 10}
    encoded(clips, tmp_path)
    encoded(ShapesClips(WORLD, 7), tmp_path)  # the first ones are the same
    assert made == {"captions": 20, "pieces": 10}
    encoded(clips, tmp_path, codec_hash="other")
    assert made == {"captions": 20, "pieces": 20}
    encoded(clips, tmp_path, phrasings=1)
    assert made == {"captions": 30, "pieces": 20}
    encoded(ResizedClips(clips, 1, None, None), tmp_path)
    assert made == {"captions": 30, "pieces": 30}
    encoded(LabelledClips(clips, "shape"), tmp_path)
    assert made == {"captions": 50, "pieces": 30}


def test_a_span_that_is_asked_for_later_is_all_that_is_encoded(tmp_path, made, small):
    clips = ShapesClips(ShapesConfig(num_frames=9, height=16, width=16), 9)
    codec = make_codec(CODEC).eval()
    encoded(clips, tmp_path, codec, codec_hash="abc", spans=lambda i: [Span(4)])
    assert made["pieces"] == 18
    data = encoded(clips, tmp_path, codec, codec_hash="abc", spans=spans)
    assert made["pieces"] == 18 + 3 * 3 and data.part(2, Span(4, 5)).mean.shape[1] == 2


def test_a_changed_caption_or_clip_encodes_only_itself_again(tmp_path, made, small):
    folder, cache = tmp_path / "clips", tmp_path / "cache"
    write_clips(ShapesClips(WORLD, 10), folder)
    encoded(FolderClips(folder), cache)
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    lines[3]["captions"][:] = ["another caption", "and one more"]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    made.update(captions=0, pieces=0)
    data = encoded(FolderClips(folder), cache)
    assert made == {"captions": 2, "pieces": 0}
    file = folder / "train/00005.mp4"
    write_video(file, ShapesClips(WORLD, 20).frames(19), enlarge=False)
    made.update(captions=0, pieces=0)
    data = encoded(FolderClips(folder), cache)
    assert made == {"captions": 0, "pieces": 1}
    for clip in range(10):
        assert torch.equal(data.posterior(clip).mean, to_video(FolderClips(folder).frames(clip))[0])


def test_an_interrupted_encoding_goes_on(clips, tmp_path, made, small):
    done = []

    def stop(count: int) -> None:
        done.append(count)
        if len(done) == 5:  # three of texts, two of clips
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoded(clips, tmp_path, progress=stop)
    assert done == [4, 8, 10, 4, 8] and made == {"captions": 20, "pieces": 8}
    encoded(clips, tmp_path)
    assert made == {"captions": 20, "pieces": 10}


def test_clips_that_are_not_wanted_yet_are_encoded_when_they_are(clips, tmp_path, made, small):
    data = encoded(clips, tmp_path, ready=3)
    assert made == {"captions": 20, "pieces": 4} and len(data) == 10
    assert torch.equal(data.posterior(9).mean, to_video(clips.frames(9))[0])
    assert made["pieces"] == 6
    encoded(clips, tmp_path)  # as another process may do
    assert made["pieces"] == 10
    assert torch.equal(data.posterior(5).mean, to_video(clips.frames(5))[0])
    assert made["pieces"] == 10


# Damaged


@pytest.mark.parametrize("kind", ["latents", "text"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "swapped", "foreign"])
def test_a_damaged_file_is_said_set_aside_and_encoded_again(
    clips, tmp_path, made, small, kind, damage, capsys
):
    before = encoded(clips, tmp_path)
    wanted = [(before.posterior(i).mean, before.text(i, 1).tokens) for i in range(10)]
    first, second, _ = files(tmp_path, kind)
    content = bytearray(first.read_bytes())
    if damage == "swapped":
        first.write_bytes(second.read_bytes())
    elif damage == "foreign":
        torch.save({}, first)
    else:
        content[len(content) * 3 // 4] ^= 1
        first.write_bytes({"cut": content[: len(content) // 2], "emptied": b""}.get(damage, content))
    made.update(captions=0, pieces=0)
    for _ in range(2):
        data = encoded(clips, tmp_path)
        for i, (mean, tokens) in enumerate(wanted):
            assert torch.equal(data.posterior(i).mean, mean) and torch.equal(data.text(i, 1).tokens, tokens)
    assert made["pieces" if kind == "latents" else "captions"] in ((4, 2) if kind == "latents" else (8, 4))
    assert made["captions" if kind == "latents" else "pieces"] == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{first} is damaged: set aside as damaged-{first.name}" in said
    assert first.with_name(f"damaged-{first.name}").exists() and len(files(tmp_path, kind)) == 4
