"""A model's config with all that is random switched off."""

from typing import Any

from transformers import PreTrainedConfig

# How settings end that make a forward random.
RANDOM = ("dropout", "dropout_prob", "dropout_rate", "layerdrop", "pdrop", "drop_path_rate", "jitter_noise")


def settled(config: Any) -> Any:
    """The config with all that is random switched off, its parts' too: with dropout or router noise, policy and
    reference would differ although their weights are equal. Router logits are not asked for: nothing here uses them."""
    for key, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            settled(value)
        elif key.endswith(RANDOM) and isinstance(value, int | float) and value:
            setattr(config, key, 0.0)
        elif key == "output_router_logits":
            config.output_router_logits = False
    return config
