"""Words of captions: counted, kept with a checkpoint, and near ones."""

import pytest

from tubelet import checkpoint
from tubelet.checkpoint import Part
from tubelet.text.words import counted, near_words, unknown_words, words_in, words_of, words_part

COUNTS = counted(["A red ball rolls left.", "a red cube", "the sky's red; ball 2"])


def test_words_are_counted_whatever_their_case_and_signs():
    assert words_in("The sky's RED; ball 2!") == ["the", "sky's", "red", "ball"]
    assert list(COUNTS.items())[:3] == [("red", 3), ("a", 2), ("ball", 2)] and COUNTS["rolls"] == 1


@pytest.mark.parametrize(
    ("word", "near"), [("red", ["red"]), ("Bal", ["ball"]), ("roll", ["rolls"]), ("xylophone", [])]
)
def test_near_words_are_known_ones_spelled_alike(word, near):
    assert near_words(word, COUNTS) == near


def test_a_prompt_says_which_of_its_words_are_new():
    assert unknown_words("a red bll runs", COUNTS) == {"bll": ["ball"], "runs": []}


def test_words_are_kept_with_a_checkpoint_and_one_without_them_has_none(tmp_path):
    checkpoint.save(tmp_path / "with", {"words": words_part(COUNTS)}, {})
    checkpoint.save(tmp_path / "without", {"other": Part({})}, {})
    assert list(words_of(checkpoint.load(tmp_path / "with").parts).items()) == list(COUNTS.items())
    assert words_of(checkpoint.load(tmp_path / "without").parts) == {}
