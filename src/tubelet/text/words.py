"""Words that a model has met in training, counted, and those near a word that it has not."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from tubelet.checkpoint import Part

NAME = "words"  # of the part of a checkpoint
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def words_in(caption: str) -> list[str]:
    """The words of a caption in lower case, in order; numbers and signs are none."""
    return _WORD.findall(caption.lower())


def counted(captions: Iterable[str]) -> dict[str, int]:
    """How often each word stands in some captions, the most frequent first, equals by the alphabet."""
    found = Counter(word for caption in captions for word in words_in(caption))
    return dict(sorted(found.items(), key=lambda row: (-row[1], row[0])))


def words_part(counts: Mapping[str, int]) -> Part:
    """Counted words as a part of a checkpoint."""
    return Part({"counts": dict(counts)})


def words_of(parts: Mapping[str, Part]) -> dict[str, int]:
    """The words that a checkpoint's model has met, the most frequent first; none where they were not kept."""
    counts: dict[str, int] = parts[NAME].config["counts"] if NAME in parts else {}
    return dict(sorted(counts.items(), key=lambda row: (-row[1], row[0])))


def near_words(word: str, counts: Mapping[str, int], most: int = 3) -> list[str]:
    """Known words that are spelled like one, the nearest first; itself alone where it is known."""
    word = word.lower()
    return [word] if word in counts else difflib.get_close_matches(word, list(counts), n=most, cutoff=0.7)


def unknown_words(prompt: str, counts: Mapping[str, int]) -> dict[str, list[str]]:
    """The words of a prompt that a model has not met, in order, with known ones near them."""
    return {word: near_words(word, counts) for word in words_in(prompt) if word not in counts}
