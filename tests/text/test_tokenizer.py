"""Word pieces and bytes: what is kept, what is lost, what is refused."""

import pytest

from tubelet.errors import InputError
from tubelet.text.tokenizer import PromptTokenizer, Utf8Bytes, WordPieces, checked_all

WORDS = ["a", "red", "circle", "moves", "left", "quick", "##ly", ",", "é", "雪"]


@pytest.fixture
def word_pieces(tmp_path):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[", "]", "sep"]
    vocabulary = {word: number for number, word in enumerate([*marks, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(marks[:4])
    # A published file asks for its own cut and padding, which must not apply.
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=20)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return lambda max_tokens: WordPieces(tmp_path / "tokenizer.json", max_tokens)


def test_word_pieces_stand_between_two_markers(word_pieces):
    assert word_pieces(8).ids("A red circle") == [2, 7, 8, 9, 3]
    assert word_pieces(8).ids("") == [2, 3]


def test_a_typed_marker_is_text(word_pieces):
    assert word_pieces(8).ids("[SEP]") == [2, 4, 6, 5, 3]


def test_a_long_prompt_keeps_its_last_marker_and_names_what_it_lost(word_pieces):
    pieces = word_pieces(5)
    assert pieces.ids("a red circle moves left") == [2, 7, 8, 9, 3]
    assert pieces.lost_words("a red circle moves left") == "moves left"
    assert pieces.lost_words("a red circle ") == ""


@pytest.mark.parametrize(
    ("prompt", "lost"),
    [
        ("a red quickly left", "quickly left"),  # cut between "quick" and "##ly"
        ("É é 雪 é  red", "é  red"),  # offsets are characters, not bytes
        ("雪雪雪雪", "雪"),  # without spaces only what was lost is named
        ("zzz zzz zzz zzz", "zzz"),  # unknown words count
    ],
)
def test_word_pieces_name_whole_lost_words(word_pieces, prompt, lost):
    assert word_pieces(5).lost_words(prompt) == lost


def test_bytes_follow_a_start_marker():
    assert Utf8Bytes(9).ids("é!") == [256, 0xC3, 0xA9, ord("!")]
    assert Utf8Bytes(9).ids("") == [256]


@pytest.mark.parametrize(
    ("prompt", "kept", "lost"),
    [
        ("red left", 8, ""),
        ("red circle", 8, "circle"),
        ("red left  ", 8, ""),
        ("red left circle", 8, "circle"),
        ("abcdefgé", 7, "é"),  # no half characters
    ],
)
def test_bytes_keep_whole_characters_and_name_lost_words(prompt, kept, lost):
    tokenizer = Utf8Bytes(9)
    assert len(tokenizer.ids(prompt)) == kept + 1
    assert tokenizer.lost_words(prompt) == lost


@pytest.mark.parametrize("prompt", [None, 3, b"red", ["red"], "\udc80"])
def test_a_prompt_that_is_no_text_is_refused(word_pieces, prompt):
    tokenizers: list[PromptTokenizer] = [word_pieces(8), Utf8Bytes(8)]
    for tokenizer in tokenizers:
        for read in (tokenizer.ids, tokenizer.lost_words):
            with pytest.raises(InputError, match="prompt"):
                read(prompt)


@pytest.mark.parametrize("prompts", ["a red circle", None, 3])
def test_a_lone_string_is_not_a_list_of_prompts(prompts):
    with pytest.raises(InputError, match=r"pass \[prompt\]"):
        checked_all(prompts)


def test_max_tokens_must_leave_room_for_the_markers(word_pieces):
    with pytest.raises(InputError, match="2 or more"):
        word_pieces(1)
    with pytest.raises(InputError, match="1 or more"):
        Utf8Bytes(0)
