"""Trains the reader of the world in depth's judge, from scenes that no other split draws; writes its weights.

    python benchmarks/train_judge.py [--clips 8000] [--samples 100000] [--out FOLDER] [--pool FOLDER]

Renders a pool of clips (once; --pool keeps it), some of them changed so that no attribute tells another, some through
the codec that ships, some dissolved, some of the flat world. Then spoils them anew each time they are shown. On one
core: about 6 minutes of rendering and 20 of training. It must be repeated when the world's look or words change.
"""

import argparse
import json
import math
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import judge_clips as clips_for
import numpy as np
import torch
from torch import Tensor

from tubelet import checkpoint
from tubelet.autoencoder.codec import Codec
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.video import to_frames, to_video
from tubelet.worlds.depth.clips import WORLD_VERSION, DepthClips
from tubelet.worlds.depth.config import DepthConfig
from tubelet.worlds.depth.judge.attributes import WORDS
from tubelet.worlds.depth.judge.network import FRAMES, ROLES, SIDE, Read, Reader, ReaderConfig
from tubelet.worlds.depth.judge.reading import FPS, WEIGHTS
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

BATCH = 16
CHUNK = 32  # clips in one file of the pool
PLACES = 5.0  # weight of where bodies are
SEED = 7  # of scenes: no other run draws them
LENGTHS = (FRAMES, clips_for.SHORT, 1)
KINDS = {"train": 0.45, "unseen_pairs": 0.2, "changed": 0.25, "dissolved": 0.05, "flat": 0.05}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=8000, help="in the pool")
    parser.add_argument("--samples", type=int, default=100_000, help="clips shown in training")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the weights")
    parser.add_argument("--pool", type=Path, default=Path("cache/judge"), help="folder of the rendered clips")
    return parser.parse_args()


# The pool


class Sample(NamedTuple):
    """A clip uint8 [9, 64, 64, 3], its labels at each of LENGTHS, and where its bodies are, uint8 [9, 8, 8, 3].

    Those are zeros where `placed` is false, that is where no body is to be looked for.
    """

    frames: clips_for.Frames
    labels: dict[int, clips_for.Labels]
    where: clips_for.Frames
    placed: bool = True


def drawn(index: int) -> Sample:
    """Clip `index` of the pool."""
    rng = random.Random(f"judge {index}")
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    size = {"num_frames": FRAMES, "height": SIDE, "width": SIDE, "fps": FPS, "seed": SEED}
    nowhere = np.zeros((FRAMES, 8, 8, len(ROLES)), np.uint8)
    if kind == "flat":
        frames = ShapesClips(ShapesConfig(**size), index + 1).frames(index).numpy()
        return Sample(frames, dict.fromkeys(LENGTHS, clips_for.UNREADABLE), nowhere, False)
    split = kind if kind == "unseen_pairs" else "train"
    scene = DepthClips(DepthConfig(**size), index + 1, split).scene(index)
    if kind == "changed":
        scene = clips_for.changed(scene, rng)
    labels = {count: clips_for.labels_of(scene, count) for count in LENGTHS}
    if kind == "dissolved":
        gone = {count: clips_for.dissolved_labels(each) for count, each in labels.items()}
        return Sample(clips_for.dissolved(scene, rng), gone, nowhere, False)
    frames, where = clips_for.pictures(scene)
    return Sample(frames, labels, where)


def fill(folder: Path, count: int) -> None:
    """Render what the pool lacks; a quarter goes through the codec."""
    folder.mkdir(parents=True, exist_ok=True)
    codec = VideoPipeline.from_pretrained().codec
    for first in range(0, count, CHUNK):
        file = folder / f"{first:06}.npz"
        if file.exists():
            continue
        made = [drawn(i) for i in range(first, first + CHUNK)]
        frames, where = (np.stack([getattr(each, name) for each in made]) for name in ("frames", "where"))
        frames[::4] = decoded(codec, frames[::4])
        told = [
            [each.placed, {n: clips_for.as_rows(words) for n, words in each.labels.items()}] for each in made
        ]
        part = file.with_suffix(".part")
        with open(part, "wb") as out:
            np.savez(out, frames=frames, where=where, told=np.array(json.dumps(told)))
        part.rename(file)
        if first % (16 * CHUNK) == 0:
            print(f"pool {first + CHUNK} of {count}, CPU {time.process_time():.0f} s", flush=True)


def decoded(codec: Codec, frames: clips_for.Frames) -> clips_for.Frames:
    """Clips [N, F, H, W, 3] encoded and decoded."""
    with torch.no_grad():
        return to_frames(codec.decode(codec.encode(to_video(torch.from_numpy(frames))).mean)).numpy()


def read_pool(folder: Path, count: int) -> list[Sample]:
    """The clips."""
    found = []
    for first in range(0, count, CHUNK):
        with np.load(folder / f"{first:06}.npz") as file:
            frames, where, told = file["frames"], file["where"], json.loads(str(file["told"]))
        for k, (placed, labels) in enumerate(told):
            tuples = {int(n): {name: tuple(w) for name, w in words.items()} for n, words in labels.items()}
            found.append(Sample(frames[k], tuples, where[k], placed))
    return found


# What is shown


class Shown(NamedTuple):
    """Frames [F, 64, 64, 3] from 0 to 255, what is right, and where its bodies are [F, 8, 8, 3] of 255, or None."""

    frames: Tensor
    labels: clips_for.Labels
    where: Tensor | None


def shown(sample: Sample, count: int, rng: random.Random) -> Shown:
    """`count` frames of a clip as they are shown once."""
    found = tricked(sample, count, rng)
    frames, labels, where = found
    if rng.random() < 0.5 and clips_for.mirrors(labels):
        frames, labels = frames.flip(2), clips_for.mirrored(labels)
        where = None if where is None else where.flip(2)
    for change in clips_for.PIXELS:
        if rng.random() < 0.2:
            frames = change(frames, rng)
    return Shown(frames.clamp(0, 255), labels, where)


def tricked(sample: Sample, count: int, rng: random.Random) -> Shown:
    """`count` frames of a clip: as they are, or now and then frozen, backwards, out of order, or unreadable."""
    frames, right = torch.from_numpy(sample.frames[:count]).float(), sample.labels[count]
    if not sample.placed or count == 1:
        return Shown(frames, right, torch.from_numpy(sample.where[:count]).float() if sample.placed else None)
    where, trick = torch.from_numpy(sample.where[:count]).float(), rng.random()
    if trick < 0.06:
        first = frames[:1].repeat(count, 1, 1, 1), where[:1].repeat(count, 1, 1, 1)
        return Shown(first[0], clips_for.frozen(sample.labels[1]), first[1])
    if (
        trick < 0.16 and count == FRAMES and right["event"] != ("hits",)
    ):  # there, the other one would be the first
        return Shown(frames.flip(0), clips_for.backwards(right), where.flip(0))
    if 0.16 <= trick < 0.20 and count == FRAMES:
        order = torch.randperm(count)
        return Shown(frames[order], clips_for.out_of_order(right), where[order])
    if 0.20 <= trick < 0.26:
        spoil, labels = rng.choice(clips_for.SPOILT)
        return Shown(spoil(rng, frames), labels, None)
    return Shown(frames, right, where)


def known_of(batch: list[Shown], rng: random.Random, chance: float) -> Tensor:
    """Where bodies are [B, F, 8, 8, 3], for some of the clips; NaN for the others."""
    nowhere = torch.full((*batch[0].frames.shape[:1], 8, 8, len(ROLES)), torch.nan)
    told = [each.where is not None and rng.random() < chance for each in batch]
    return torch.stack(
        [each.where / 255 if tell else nowhere for each, tell in zip(batch, told, strict=True)]
    )


def targets(labels: list[clips_for.Labels]) -> dict[str, Tensor]:
    """The share of each answer [B, words + 1]; a row of zeros does not count."""
    found = {name: torch.zeros(len(labels), len(words) + 1) for name, words in WORDS.items()}
    for k, right in enumerate(labels):
        for name, words in right.items():
            where = [WORDS[name].index(word) for word in words] or [-1]
            found[name][k, where] = 1 / len(where)
    return found


def loss_of(read: Read, batch: list[Shown]) -> Tensor:
    """Cross-entropies of all attributes, summed, and that of the bodies' places, times PLACES."""
    wanted = targets([each.labels for each in batch])
    terms = [
        -(wanted[name] * row.float().log_softmax(-1)).sum() / len(row) for name, row in read.answers.items()
    ]
    placed = [k for k, each in enumerate(batch) if each.where is not None]
    if placed:
        share = torch.stack([each.where for each in batch if each.where is not None]) / 255
        share = torch.cat([share, 1 - share.sum(-1, keepdim=True)], -1)  # [K, F, 8, 8, 4]
        terms.append(-PLACES * (share * read.where[placed].float().log_softmax(-1)).sum(-1).mean())
    return torch.stack(terms).sum()


# Training


def train(args: argparse.Namespace) -> Reader:
    """The reader's average weights over the last steps."""
    torch.manual_seed(0)
    pool = read_pool(args.pool, args.clips)
    reader, rng = Reader(ReaderConfig(), WORDS), random.Random(0)
    average = {name: value.clone() for name, value in reader.state_dict().items()}
    optimizer = torch.optim.AdamW(reader.parameters(), weight_decay=0.02, betas=(0.9, 0.98))
    steps, order, start, mean = args.samples // BATCH, [], time.process_time(), 0.0
    print(f"{sum(p.numel() for p in reader.parameters()):,} parameters, {steps} steps", flush=True)
    for step in range(steps):
        rate = args.rate * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        if len(order) < BATCH:
            order = rng.sample(range(args.clips), args.clips)
        chosen, order = order[:BATCH], order[BATCH:]
        count = rng.choices(LENGTHS, (0.8, 0.15, 0.05))[0]
        batch = [shown(pool[i], count, rng) for i in chosen]
        x = (torch.stack([each.frames for each in batch]) / 127.5 - 1).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            read = reader(x, known_of(batch, rng, 0.7 * (1 - step / steps)))
        loss = loss_of(read, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        for name, value in reader.state_dict().items():
            average[name].lerp_(value, max(0.005, 1 / (step + 1)))
        mean += (loss.item() - mean) * max(0.01, 1 / (step + 1))
        if step % 100 == 99:
            print(f"step {step + 1}: loss {mean:.3f}, CPU {time.process_time() - start:.0f} s", flush=True)
        if step % 1000 == 999:
            save(args.out, average, args, reader.words)
    reader.load_state_dict(average)
    return reader


def save(folder: Path, weights: dict[str, Tensor], args: argparse.Namespace, words: dict[str, Any]) -> None:
    """Write the weights in bfloat16, with what is needed to use and to repeat them."""
    config = {
        "network": asdict(ReaderConfig()),
        "words": list(words.items()),  # in the order of the network's questions
        "world_version": WORLD_VERSION,
        "recipe": {
            "clips": args.clips,
            "samples": args.samples,
            "rate": args.rate,
            "batch": BATCH,
            "seed": SEED,
        },
    }
    plain = json.loads(json.dumps(config))
    tensors = {name: value.bfloat16() for name, value in weights.items()}
    checkpoint.save(folder, {"reader": checkpoint.Part(plain, tensors)}, {"part": "reader"})


def main() -> None:
    """Fill the pool, train, write."""
    args = arguments()
    torch.set_num_threads(1)
    fill(args.pool, args.clips)
    reader = train(args)
    save(args.out, reader.state_dict(), args, reader.words)


if __name__ == "__main__":
    main()
