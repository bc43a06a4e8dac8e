"""The own forward against transformers, at random weights and at the published ones."""

import json

import pytest
import torch

from tubelet.errors import InputError
from tubelet.text.bert import Bert, BertConfig, is_read

SMALL = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "layer_norm_eps": 1e-5,
}


def three_prompts(vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([2, 7, 5])
    mask = torch.arange(7) < lengths[:, None]
    ids = torch.randint(1, vocabulary, (3, 7), generator=torch.Generator().manual_seed(0)) * mask
    return ids, mask


def check_against(reference, config, weights, vocabulary):
    ids, mask = three_prompts(vocabulary)
    with torch.no_grad():
        expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        states = Bert(BertConfig.of(config), weights)(ids, mask)
    torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=0)


def test_the_forward_is_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    reference = transformers.BertModel(transformers.BertConfig(**SMALL)).eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for (
            parameter
        ) in reference.parameters():  # a fresh one has zero biases, which would hide a missing one
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    weights = {name: value for name, value in reference.state_dict().items() if is_read(name)}
    check_against(reference, SMALL, weights, vocabulary=50)


def test_the_published_minilm_is_that_of_transformers(minilm_folder):
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import load_file

    reference = transformers.BertModel.from_pretrained(minilm_folder).eval()
    config = json.loads((minilm_folder / "config.json").read_text("utf-8"))
    check_against(reference, config, load_file(minilm_folder / "model.safetensors"), vocabulary=30522)


@pytest.mark.parametrize("change", [{"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}])
def test_a_bert_with_another_forward_is_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        BertConfig.of({**SMALL, **change})
