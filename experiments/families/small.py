"""Tiny models of every causal family of the installed transformers, with windows of eight tokens."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from xright.models import settled

FAMILIES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
VOCABULARY = 96
# Sizes by the names that configurations give them; a family takes those that it has.
SIZES = {
    32: "d_model embed_dim embedding_size hidden_size hidden_size_per_layer_input input_size lru_width n_embd "
    "word_embed_proj_dim",
    64: "d_inner decoder_ffn_dim dff dim_ff encoder_ffn_dim feed_forward_size ffn_dim ffn_hidden_size "
    "intermediate_size max_position_embeddings max_seq_len moe_shared_expert_intermediate_size "
    "n_positions shared_expert_intermediate_size shared_intermediate_size",
    16: "attention_chunk_size expert_ffn_hidden_size index_head_dim index_n_heads kv_lora_rank laurel_rank "
    "moe_intermediate_size o_lora_rank q_lora_rank time_step_rank",
    8: "attention_head_dim chunk_size d_kv head_dim index_topk kv_channels linear_head_dim "
    "linear_key_head_dim linear_value_head_dim local_attn_chunk_length lsh_attn_chunk_length "
    "mamba_chunk_size mamba_d_head mamba_d_state mamba_dt_rank mamba_head_dim mamba_headdim "
    "qk_nope_head_dim qk_rope_head_dim sliding_window ssm_state_size state_size swa_head_dim v_head_dim "
    "window_size",
    4: "conv_L_cache conv_kernel decoder_attention_heads encoder_attention_heads linear_conv_kernel_dim "
    "linear_num_heads linear_num_value_heads mamba_d_conv mamba_n_heads mamba_num_heads moe_num_experts "
    "n_head n_heads n_routed_experts num_attention_heads num_experts num_heads num_local_experts "
    "swa_num_attention_heads",
    2: "decoder_layers encoder_layers linear_num_key_heads mamba_n_groups moe_k moe_topk n_layer n_layers "
    "num_blocks num_decoder_layers num_encoder_layers num_experts_per_tok num_experts_per_token "
    "num_hidden_layers num_key_value_heads num_kv_heads num_layers swa_num_key_value_heads",
    1: "first_k_dense_replace mamba_expand mamba_ngroups moe_layer_start_index n_group n_groups "
    "n_shared_experts num_nextn_predict_layers num_shared_experts topk_group",
    VOCABULARY: "vocab_size vocab_size_per_layer_input",
}
BY_NAME: dict[str, Any] = {name: size for size, names in SIZES.items() for name in names.split()}
BY_NAME |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": 0.2, "init_std": 0.2}


def small_config(family: str) -> PreTrainedConfig:
    """A configuration of a family with two layers and the sizes above."""
    return _small(CONFIG_MAPPING[family], FAMILY_SETTINGS.get(family, {}))


def small_model(family: str) -> PreTrainedModel:
    """Such a model as xright loads it, seeded."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(settled(small_config(family)))


def _small(kind: type[PreTrainedConfig], settings: dict[str, Any]) -> PreTrainedConfig:
    usual = kind()
    found = {name: size for name, size in BY_NAME.items() if type(vars(usual).get(name)) in (int, float)}
    if "kv_lora_rank" in found and "num_key_value_heads" in found:  # latent attention has no groups of queries
        found["num_key_value_heads"] = found["num_attention_heads"]
    for name in kind.sub_configs:
        part = getattr(usual, name, None)
        if isinstance(part, PreTrainedConfig):
            found[name] = _small(type(part), settings.get(name, {})).to_dict()
    found |= {name: value for name, value in settings.items() if not isinstance(found.get(name), dict)}
    return kind(**{name: value for name, value in found.items() if value is not None})


# What a family needs besides; None: not the general size.
FAMILY_SETTINGS: dict[str, dict[str, Any]] = {
    "codegen": {"rotary_dim": 4},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0}, "ffn_config": {"ffn_hidden_size": 64}},
    "deepseek_v2": {"num_experts_per_tok": 2, "topk_method": "greedy"},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "expand": 2},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "prophetnet": {"num_hidden_layers": None},
    "reformer": {
        "is_decoder": True, "attn_layers": ["local", "lsh"], "axial_pos_embds": False, "num_hashes": 1,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["mamba", "hybrid"]},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"]},
}  # fmt: skip
