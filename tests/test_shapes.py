"""Text: choosing, mixing and joining prompts of different lengths."""

import pytest
import torch

from tubelet.shapes import Text


def a_text(*lengths: int, width: int = 3, seed: int = 0) -> Text:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    tokens = torch.randn(*mask.shape, width, generator=generator) * mask[..., None]
    return Text(tokens, mask, torch.randn(len(lengths), width, generator=generator))


def same_prompt(text: Text, row: int, other: Text, other_row: int) -> bool:
    return (
        torch.equal(text.tokens[row][text.mask[row]], other.tokens[other_row][other.mask[other_row]])
        and torch.equal(text.whole[row], other.whole[other_row])
        and not text.tokens[row][~text.mask[row]].any()
    )


@pytest.mark.parametrize("index", [slice(1, 3), [1, 2], torch.tensor([1, 2])])
def test_prompts_are_chosen_by_slice_list_or_tensor(index):
    text = a_text(4, 2, 1)
    chosen = text[index]
    assert len(chosen) == 2
    assert same_prompt(chosen, 0, text, 1) and same_prompt(chosen, 1, text, 2)


def test_trimming_drops_only_columns_without_a_token():
    text = a_text(5, 2, 3)[[1, 2]]
    trimmed = text.trimmed()
    assert text.tokens.shape[1] == 5 and trimmed.tokens.shape == (2, 3, 3) and trimmed.mask.shape == (2, 3)
    assert all(same_prompt(trimmed, row, text, row) for row in range(2))


def test_trimming_keeps_one_column():
    text = a_text(2)
    assert Text(text.tokens, torch.zeros_like(text.mask), text.whole).trimmed().tokens.shape[1] == 1
    assert text[:0].trimmed().tokens.shape == (0, 1, 3)


@pytest.mark.parametrize(("mine", "theirs"), [((4, 2, 3), (1,)), ((1, 2, 1), (5,)), ((1, 4, 2), (3, 6, 1))])
def test_where_takes_each_prompt_whole_from_one_side(mine, theirs):
    text, other = a_text(*mine), a_text(*theirs, seed=1)
    mixed = text.where(torch.tensor([True, False, True]), other)
    assert len(mixed) == 3
    assert same_prompt(mixed, 0, text, 0) and same_prompt(mixed, 2, text, 2)
    assert same_prompt(mixed, 1, other, 1 if len(other) > 1 else 0)


def test_where_with_all_or_none_gives_one_side():
    text, other = a_text(4, 2), a_text(1, seed=1)
    kept, dropped = (text.where(torch.full((2,), keep), other).trimmed() for keep in (True, False))
    assert torch.equal(kept.tokens, text.tokens) and torch.equal(kept.mask, text.mask)
    assert dropped.tokens.shape[1] == 1 and all(same_prompt(dropped, row, other, 0) for row in range(2))


def test_joining_pads_to_the_longest_and_changes_no_prompt():
    parts = [a_text(2, 1), a_text(5, seed=1), a_text(3, 3, seed=2)]
    joined = Text.concatenate(parts)
    assert joined.tokens.shape == (5, 5, 3) and joined.mask.shape == (5, 5) and joined.whole.shape == (5, 3)
    rows = [(part, row) for part in parts for row in range(len(part))]
    assert all(same_prompt(joined, at, part, row) for at, (part, row) in enumerate(rows))


def test_a_new_dtype_leaves_the_mask_alone():
    moved = a_text(2, 1).to("cpu", torch.bfloat16)
    assert moved.tokens.dtype == moved.whole.dtype == torch.bfloat16 and moved.mask.dtype == torch.bool
