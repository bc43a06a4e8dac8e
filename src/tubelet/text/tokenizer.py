"""Prompts to token numbers: word pieces for MiniLM, bytes for the encoder that needs no weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

from tubelet.errors import InputError


class PromptTokenizer(Protocol):
    """What an encoder needs of a tokenizer: numbers for a prompt, and what did not fit."""

    max_tokens: int

    def ids(self, prompt: str) -> list[int]:
        """Token numbers of a prompt, markers included, at most `max_tokens` and at least one."""
        ...

    def lost_words(self, prompt: str) -> str:
        """The words of a prompt that did not fit; "" when nothing was cut."""
        ...


class WordPieces:
    """BERT's word pieces between CLS and SEP; a long prompt is cut before SEP.   [BERT 3]

    Text that spells a marker, such as a typed SEP, stays text. `file` is a tokenizer.json.
    """

    def __init__(self, file: Path, max_tokens: int) -> None:
        if max_tokens < 2:
            raise InputError(f"max_tokens {max_tokens} leaves no room for the two markers; use 2 or more")
        self.max_tokens = max_tokens
        self._pieces = Tokenizer.from_file(str(file))
        self._pieces.no_truncation()
        self._pieces.no_padding()
        self._pieces.encode_special_tokens = True
        self._markers = [_number(self._pieces, marker) for marker in ("[CLS]", "[SEP]")]

    def ids(self, prompt: str) -> list[int]:
        """Token numbers of a prompt with both markers, at most `max_tokens`."""
        first, last = self._markers
        pieces = self._pieces.encode(checked(prompt), add_special_tokens=False)
        return [first, *pieces.ids[: self.max_tokens - 2], last]

    def lost_words(self, prompt: str) -> str:
        """The words of a prompt that did not fit, the one that was cut in two included."""
        pieces = self._pieces.encode(checked(prompt), add_special_tokens=False)
        beyond = pieces.offsets[self.max_tokens - 2 :]
        return _words_from(prompt, beyond[0][0]) if beyond else ""


class Utf8Bytes:
    """A start marker, number 256, then the prompt's bytes; a character is kept whole or cut whole."""

    START = 256

    def __init__(self, max_tokens: int) -> None:
        if max_tokens < 1:
            raise InputError(f"max_tokens {max_tokens} leaves no room for the start marker; use 1 or more")
        self.max_tokens = max_tokens

    def ids(self, prompt: str) -> list[int]:
        """The start marker and the bytes of what fits."""
        return [self.START, *self._kept(prompt).encode()]

    def lost_words(self, prompt: str) -> str:
        """The words of a prompt that did not fit, the one that was cut in two included."""
        kept = self._kept(prompt)
        return _words_from(prompt, len(kept)) if len(kept) < len(prompt) else ""

    def _kept(self, prompt: str) -> str:
        return checked(prompt).encode()[: self.max_tokens - 1].decode(errors="ignore")


def checked(prompt: object) -> str:
    """The prompt itself. Raises InputError where it is no text, or text that UTF-8 cannot hold."""
    if not isinstance(prompt, str):
        raise InputError(f"a prompt must be a string, not {type(prompt).__name__}; pass its text")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the prompt has an unpaired surrogate at character {error.start}; pass valid UTF-8 text"
        ) from None
    return prompt


def checked_all(prompts: Sequence[str]) -> list[str]:
    """The prompts as a list. Raises InputError for a lone string, which would be read letter by letter."""
    if isinstance(prompts, (str, bytes)) or not isinstance(prompts, Sequence):
        raise InputError(f"prompts must be a list of strings, not {type(prompts).__name__}; pass [prompt]")
    return [checked(prompt) for prompt in prompts]


def _words_from(prompt: str, cut: int) -> str:
    kept = prompt[:cut]
    words = kept.rsplit(maxsplit=1)
    inside_a_word = kept[-1:].strip() and prompt[cut : cut + 1].strip()
    # A text without spaces is one "word": going back to its start would call all of it lost.
    start = cut - len(words[-1]) if inside_a_word and len(words) > 1 else cut
    return prompt[start:].strip()


def _number(pieces: Tokenizer, marker: str) -> int:
    number = pieces.token_to_id(marker)
    if number is None:
        raise InputError(f"the tokenizer has no {marker}; give the tokenizer.json of a BERT")
    return number
