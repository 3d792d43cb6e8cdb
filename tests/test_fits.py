"""What a family does beside a causal language model's forward ends in a sentence."""

import copy
import json

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models
from torch import nn
from transformers import PreTrainedTokenizerFast

from xright import models
from xright.data.rows import Row
from xright.errors import UserError
from xright.evaluation.generate import complete
from xright.forward.collate import collate
from xright.forward.fits import check_fits, check_same_tokens
from xright.forward.packing import choose_layout
from xright.objectives import SFT

MOE = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2, "sliding_window": None}


def exported(model, tokenizer, folder):
    models.export(model, tokenizer, folder)
    return models.load(folder)


# --- sizes -----------------------------------------------------------------------------------------------------------


def with_gaps(largest):
    """A tokenizer of three tokens, the last with that id."""
    vocabulary = {"</s>": 0, "w1": 1, "w2": largest}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(tokenizer_models.WordLevel(vocabulary, unk_token="w1")), eos_token="</s>"
    )


def test_the_largest_id_counts_and_not_how_many(family):
    model = family("llama")  # 40 rows
    check_fits(model, with_gaps(39), max_length=8)
    with pytest.raises(UserError, match="ids go up to 40 but the model's embedding has only 40 rows"):
        check_fits(model, with_gaps(40), max_length=8)
    built = models.build({"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2}, with_gaps(50), seed=0)
    assert built.get_input_embeddings().num_embeddings == 51


# --- randomness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("biogpt", {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "layerdrop": 0.5}),
        ("mpt", {"n_heads": 4, "n_layers": 2, "resid_pdrop": 0.5}),
        ("phimoe", {"num_key_value_heads": 2, "num_local_experts": 4, "router_jitter_noise": 0.3}),
        ("gemma3", {"text_config": {"attention_dropout": 0.5, "num_hidden_layers": 2, "hidden_size": 32}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_randomness_by_any_name_is_off(model_type, settings, family, word_tokenizer, tmp_path):
    """In the config of the folder, in its parts, and as numbers of any type."""
    models.export(family(model_type, **settings), word_tokenizer, tmp_path)
    written = (tmp_path / "config.json").read_text()
    assert any(str(value) in written for value in (0.5, 0.3))
    model = models.load(tmp_path).train()
    ids = torch.arange(7, 20)[None]
    with torch.no_grad():
        first, second = (model(input_ids=ids, use_cache=False).logits for _ in range(2))
        torch.testing.assert_close(first, second)
        torch.testing.assert_close(first, model.eval()(input_ids=ids, use_cache=False).logits)
    check_fits(model, word_tokenizer, max_length=8)


def test_randomness_that_no_setting_names_is_refused(family, word_tokenizer):
    model = family("llama")
    check_fits(model, word_tokenizer, max_length=8)
    state = torch.get_rng_state()
    model.model.layers[1].mlp.act_fn = nn.Sequential(model.model.layers[1].mlp.act_fn, nn.Dropout(0.05))
    with pytest.raises(UserError, match="LlamaForCausalLM computes other values in training than in evaluation"):
        check_fits(model, word_tokenizer, max_length=8)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


# --- factors that follow the longest row -----------------------------------------------------------------------------

ROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [1.0, 4.0, 16.0, 32.0],
    "original_max_position_embeddings": 32,
}  # fmt: skip
LONGROPE = {"num_key_value_heads": 4, "rope_parameters": ROPE, "original_max_position_embeddings": 32}


def test_longrope_is_refused_where_rows_may_be_longer_than_its_first_window(family, word_tokenizer):
    model = family("phi3", **LONGROPE)
    check_fits(model, word_tokenizer, max_length=32)
    with pytest.raises(UserError, match=r"data\.max_length=33 lets Phi3ForCausalLM change .* data\.max_length=32, or"):
        check_fits(model, word_tokenizer, max_length=33)
    check_fits(model, word_tokenizer, max_length=32)  # the probe leaves no other factors behind


def test_what_is_refused_is_really_so(family):
    """A short row's log-probs, alone and beside a long one."""
    model = family("phi3", **LONGROPE).eval()
    short, long = torch.arange(1, 11)[None], torch.arange(50)[None] % 40
    with torch.no_grad():
        alone = model(input_ids=short, use_cache=False).logits[0]
        beside = model(input_ids=torch.cat([nn.functional.pad(short, (0, 40)), long]), use_cache=False).logits[0, :10]
    assert (alone - beside).abs().max() > 0.1


# --- a mixture of experts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_router_logits_that_a_config_asks_for_do_no_harm(layout, family, word_tokenizer, tmp_path, caplog):
    """The value is that of the model that is not asked; and it is said that the balancing loss is left out."""
    rows = [Row(0, [3, 4, 5], ([6, 7, 8, 9],)), Row(1, [2], ([1, 3],))]
    values = []
    for asked in (False, True):
        model = family("mixtral", **MOE, output_router_logits=asked, router_aux_loss_coef=0.125)
        models._say_once.cache_clear()
        with caplog.at_level("INFO", logger="xright"):
            policy = models.trainable(exported(model, word_tokenizer, tmp_path / str(asked)), {"r": 0}, False, seed=0)
        check_fits(policy, word_tokenizer, max_length=8)
        assert choose_layout(policy, layout) == layout
        loss, _ = SFT()(policy, collate(rows, 0, layout))
        loss.backward()
        assert complete(policy, word_tokenizer, ["w3 w4"], 3, batch_size=1)
        values.append(float(loss.detach()))
    assert values[0] == values[1]
    assert "the router's balancing loss (router_aux_loss_coef=0.125) is not part of the objectives" in caplog.text


# --- the reference's tokens ------------------------------------------------------------------------------------------


def test_a_reference_with_other_tokens_is_refused(family, word_tokenizer, tmp_path, caplog):
    words = json.loads(word_tokenizer.backend_tokenizer.to_str())
    words["model"]["vocab"] |= {"w3": 4, "w4": 3}
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(words)), eos_token="</s>")
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="another tokenizer than the policy: id 3 is 'w4' to it and 'w3' to the policy"):
        check_same_tokens(str(tmp_path / "other"), None, word_tokenizer)
    larger = copy.deepcopy(word_tokenizer)
    larger.add_tokens(["more"])
    larger.save_pretrained(tmp_path / "larger")
    check_same_tokens(str(tmp_path / "larger"), None, word_tokenizer)
    (tmp_path / "none").mkdir()
    check_same_tokens(str(tmp_path / "none"), None, word_tokenizer)
    assert "has no tokenizer; it is taken to know" in caplog.text


def test_a_reserved_token_may_be_renamed(word_tokenizer, tmp_path):
    for folder, name in (("mine", "<think>"), ("its", "<reserved_7>")):
        tokenizer = copy.deepcopy(word_tokenizer)
        tokenizer.add_tokens([name], special_tokens=True)
        tokenizer.save_pretrained(tmp_path / folder)
    check_same_tokens(str(tmp_path / "its"), None, models.load_tokenizer(str(tmp_path / "mine")), setting="model.path")


def test_an_adapters_own_dropout_may_stay(family, word_tokenizer):
    lora = {"r": 2, "alpha": 4, "dropout": 0.5, "target_modules": ["q_proj"]}
    policy = models.trainable(family("llama"), lora, False, seed=0)
    assert isinstance(policy, PeftModel)
    check_fits(policy, word_tokenizer, max_length=8)
