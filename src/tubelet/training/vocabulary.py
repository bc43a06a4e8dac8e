"""The words of a run's captions, counted once and kept beside its encoded clips."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path

from tubelet.data.clips import Clips
from tubelet.data.latents import chosen_captions
from tubelet.text.words import counted


def words_trained(clips: list[Clips], phrasings: int, cache: Path) -> dict[str, int]:
    """How often each word stands in the captions that these clips are trained with, as `text.words.counted`."""
    total: Counter[str] = Counter()
    for some in clips:
        told = json.dumps([some.fingerprint, len(some), phrasings])
        file = cache / f"words-{hashlib.sha256(told.encode()).hexdigest()[:24]}.json"
        if not file.exists():
            captions = (chosen_captions(some.captions(i), i, phrasings) for i in range(len(some)))
            aside = file.with_suffix(f".writing-{os.getpid()}")
            cache.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(counted(caption for each in captions for caption in each)))
            os.replace(aside, file)
        total.update(json.loads(file.read_text()))
    return dict(sorted(total.items(), key=lambda row: (-row[1], row[0])))
