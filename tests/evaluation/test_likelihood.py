import io
import json
import math

import av
import numpy as np
import pytest
import torch

from tubelet import cli
from tubelet.autoencoder.codec import CodecConfig, make_codec
from tubelet.data.source import DataConfig, held_out_clips
from tubelet.diffusion.paths import make_path
from tubelet.errors import InputError
from tubelet.evaluation import likelihood
from tubelet.evaluation.likelihood import bound_table, lossless_bits
from tubelet.gaussians import Gaussian, Laplace
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.sampling.pipeline import Scheduler, VideoPipeline
from tubelet.text.encoder import make_encoder
from tubelet.video import to_video
from tubelet.worlds.shapes.config import ShapesConfig

SIZE = {"frames": 5, "height": 16, "width": 16}
CLIPS = held_out_clips(DataConfig(world=ShapesConfig(two_objects=0.0), held_out=3, **SIZE))
DIMS = 3 * 5 * 16 * 16


def pixel_pipe(variance="large", target="x0", path="ddpm_linear"):
    """A fresh model of pixels: it predicts 0 everywhere."""
    torch.manual_seed(0)
    encoder, outputs = make_encoder("bytes"), 2 if variance == "learned" else 1
    config = TransformerConfig(
        latent_channels=3, predictions=outputs, width=32, depth=1, heads=2, tubelet=(1, 4, 4),
        frames_per_latent=1, pixels_per_latent=1, text_width=encoder.width,
    )  # fmt: skip
    scheduler = Scheduler(
        path=path, target=target, variance=variance, num_frames=5, height=16, width=16, sampler="ancestral"
    )
    return VideoPipeline(
        make_codec(CodecConfig(kind="identity")), VideoTransformer(config), encoder, scheduler
    )


def latent_pipe():
    torch.manual_seed(0)
    codec = make_codec(
        CodecConfig(latent_channels=4, widths=(8, 16), encoder_depths=(1, 1), decoder_depths=(1, 1))
    )
    codec.fit_pca(to_video(torch.stack([CLIPS.frames(i) for i in range(3)])))
    codec.standardise(torch.full((4,), 0.3), torch.tensor([0.5, 1.0, 2.0, 3.0]))
    encoder = make_encoder("bytes")
    config = TransformerConfig(latent_channels=4, width=32, depth=1, heads=2, text_width=encoder.width)
    return VideoPipeline(
        codec, VideoTransformer(config), encoder, Scheduler(num_frames=5, height=16, width=16)
    )


def test_the_bound_of_a_model_that_predicts_0_is_the_closed_form():
    """With x0 predicted as 0 each KL is that of two Gaussians whose means are known."""
    table = bound_table(pixel_pipe(), CLIPS, num_steps=4, num_rows=4)
    path = make_path("ddpm_linear")
    x0 = to_video(torch.stack([CLIPS.frames(i) for i in range(3)])).double()
    for term in table.terms[2:]:
        s, t = (torch.tensor([time], dtype=torch.float64) for time in term.times)
        fresh = 1 - (path.log_snr(t) - path.log_snr(s)).exp()
        variance = path.sigma(t) ** 2 * fresh  # large: V is 1
        ratio = (fresh * path.sigma(s) ** 2 / variance).log()
        distance = (path.alpha(s) * fresh * x0).square() / variance
        expected = 0.5 * (ratio.exp() - 1 - ratio + distance).flatten(1).sum(1)
        torch.testing.assert_close(term.nats, expected, rtol=1e-5, atol=1e-2)
    decoder = Gaussian(torch.zeros(()), 2 * path.sigma(torch.tensor([0.25])).log())  # V is 1 here too
    expected = -decoder.log_prob_discretised(x0).flatten(1).sum(1)
    torch.testing.assert_close(table.terms[1].nats, expected, rtol=1e-5, atol=1e-2)


def test_the_terms_sum_to_the_bound_in_nats_and_bits():
    table = bound_table(pixel_pipe(), CLIPS, num_rows=5)
    rows = table.rows()
    assert [row["term"] for row in rows] == ["L_T", "L_0", *["L_{t-1}"] * 4, "bound"]
    assert rows[-1]["nats"] == pytest.approx(sum(row["nats"] for row in rows[:-1]))
    assert rows[-1]["bits_per_dim"] == pytest.approx(rows[-1]["nats"] / DIMS / math.log(2))
    assert table.steps == 1000 and rows[1]["t_high"] == 0.001 and rows[-2]["t_high"] == 1
    assert rows[-1]["standard_error"] > 0


def test_a_clip_has_the_same_nats_in_any_batch(monkeypatch):
    together = bound_table(pixel_pipe(), CLIPS, num_rows=3).total.nats
    monkeypatch.setattr(likelihood, "BATCH", 1)
    alone = bound_table(pixel_pipe(), CLIPS, num_rows=3).total.nats
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-3)


def test_a_learned_variance_can_be_left_out():
    pipe = pixel_pipe("learned")
    learned, small, large = (
        bound_table(pipe, CLIPS, variance=v, num_rows=3) for v in (None, "small", "large")
    )
    fixed = bound_table(pixel_pipe("small"), CLIPS, num_rows=3)
    torch.testing.assert_close(small.total.nats, fixed.total.nats)
    assert learned.variance == "learned" and (small.total.nats != large.total.nats).all()


def test_the_bound_of_a_latent_model_has_the_terms_of_its_codec():
    pipe = latent_pipe()
    table = bound_table(pipe, CLIPS, training=CLIPS, num_rows=3)
    terms = {term.name: term.nats for term in table.terms}
    video = to_video(torch.stack([CLIPS.frames(i) for i in range(3)]))
    with torch.no_grad():
        raw = pipe.codec.posterior(video)  # before it is standardised
    torch.testing.assert_close(-terms["-H(q(z|x))"], raw.entropy().double().flatten(1).sum(1))
    latents = raw.mean[0, 0].numel()
    assert terms["log std"].tolist() == pytest.approx([latents * math.log(3.0)] * 3)  # 0.5 x 1 x 2 x 3
    assert 0 < table.scale < 1 and (terms["-log p(x|z)"] > 0).all()


def test_the_scale_of_the_decoder_is_the_likeliest():
    pipe = latent_pipe()
    scale = likelihood.fitted_scale(pipe, CLIPS, seed=0)
    errors = torch.distributions.Laplace(0.0, scale).sample((20_000,))
    nats = [
        -Laplace(torch.zeros(()), torch.tensor(s)).log_prob_discretised(errors).sum()
        for s in (scale / 2, scale, scale * 2)
    ]
    assert nats[1] == min(nats) and scale in likelihood.SCALES.tolist()


def test_lossless_compression_loses_nothing_and_finds_what_repeats():
    noise = torch.randint(256, (4, 32, 32, 3), dtype=torch.uint8)
    file = io.BytesIO()
    assert lossless_bits(noise, file) > 0.99 * 8 * noise.numel()  # noise cannot be made smaller
    file.seek(0)
    with av.open(file) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert torch.equal(torch.from_numpy(np.stack(decoded)), noise)
    assert lossless_bits(noise[:1].expand(4, -1, -1, -1).contiguous()) < 0.3 * lossless_bits(noise)


def test_the_flow_gives_bits_of_8_bit_data():
    table = bound_table(pixel_pipe(target="v"), CLIPS, num_rows=2, flow=True)
    # A network that always says v = 0 keeps z: the flow says that pixels are standard normal.
    x = to_video(torch.stack([CLIPS.frames(i) for i in range(3)]))
    expected = -torch.distributions.Normal(0, 1).log_prob(x).flatten(1).mean(1) / math.log(2) + math.log2(
        127.5
    )
    torch.testing.assert_close(table.flow.float(), expected, rtol=5e-3, atol=5e-3)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="learned none"):
        bound_table(pixel_pipe(), CLIPS, variance="learned")
    with pytest.raises(InputError, match="training clips"):
        bound_table(latent_pipe(), CLIPS)
    with pytest.raises(InputError, match="flow"):
        bound_table(latent_pipe(), CLIPS, training=CLIPS, flow=True)


def test_the_command_prints_writes_and_draws(tmp_path, capsys):
    pixel_pipe().save_pretrained(tmp_path / "model")
    words = ["bound", str(tmp_path / "model"), "--clips", "2", "--rows", "3"]
    cli.main([*words, "-o", str(tmp_path / "b.jsonl"), "--plot", str(tmp_path / "b.png")])
    printed = capsys.readouterr().out
    assert "2 clips of 3840 values" in printed and "L_0" in printed and "x264" in printed
    *terms, total = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert total["bits_per_dim"] == pytest.approx(sum(term["bits_per_dim"] for term in terms))
    assert all(len(term["clip_nats"]) == 2 for term in terms)
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_the_command_says_that_latents_are_not_pixels(tmp_path, capsys):
    latent_pipe().save_pretrained(tmp_path / "model")
    cli.main(["bound", str(tmp_path / "model"), "--clips", "1", "--rows", "2"])
    assert "not comparable with models of pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--plot b.pdf", "b.pdf must be a .png file"),
        ("-o nowhere/b.jsonl", "in a folder that is there"),
        ("--clips 0", "--clips must be 1 or more"),
        ("--steps 0", "--steps must be 1 or more"),
        ("--rows 1", "2 rows or more"),
        ("--variance lage", "did you mean 'large'"),
        ("--data nowhere", "no such folder"),
    ],
)
def test_bad_flags_are_refused_with_the_remedy(tmp_path, capsys, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    pixel_pipe().save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bound", "model", *flags.split()])
    assert words in capsys.readouterr().err
