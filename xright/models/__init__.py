"""Policies and references: any Hugging Face causal LM, by folder, hub name, or built on the spot from a config.

A *base* is what every method starts from. A *policy* is a base, trained in full or through a fresh LoRA adapter. Models
are saved in the Hugging Face / PEFT layout with their tokenizer, in safetensors, so that transformers and peft load
them without xright. An adapter's folder names its base; `load` follows that.

Weights are read from safetensors only: a pickle can run code when it is loaded. Code that comes with a model runs only
with `trust_remote_code`.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file, extract_commit_hash

from xright.errors import UserError
from xright.machine import files
from xright.machine.paths import place
from xright.machine.ranks import is_first
from xright.machine.told import told
from xright.models.adapters import (
    base_of,
    carry,
    continued,
    is_adapter,
    load_adapter,
    merged,
    side_by_side,
    with_adapter,
)
from xright.models.quantization import keep_differentiable, quantized
from xright.models.settled import settled
from xright.models.sharding import by_its_own_class, gathered, is_sharded

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

FULL: Mapping[str, Any] = {"r": 0}  # the settings of no adapter


def load_tokenizer(path: str, trust_remote_code: bool = False, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or on the hub; UserError where there is none."""
    path = str(folder) if (folder := place(path)).is_dir() else path
    with told(f"no tokenizer could be loaded from {path!r}", "give a folder or hub name"):
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code, revision=revision)


def vocabulary(tokenizer: PreTrainedTokenizerBase) -> int:
    """The largest token id and one: as many rows an embedding needs. (`len` counts tokens; ids may have gaps.)"""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def build(architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A randomly initialised causal LM: `architecture` is a transformers config with its `model_type`.

    Vocabulary size and special ids come from the tokenizer. UserError for an unknown model_type or setting.
    """
    settings = dict(architecture)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    with told(f"model.init={dict(architecture)} builds no causal LM", "give a transformers config of one"):
        config = AutoConfig.for_model(settings.pop("model_type"), vocab_size=vocabulary(tokenizer), **ids, **settings)
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(settled(config))


def load(
    path: str | Path, dtype: str = "float32", revision: str | None = None, trust_remote_code: bool = False,
    quantize: str | None = None,
) -> nn.Module:  # fmt: skip
    """The causal LM in a folder or on the hub, dropout off; an adapter folder gives its base with the adapter on it.

    quantize: nf4 or fp4, of linear layers (QLoRA, Dettmers et al. 2023). UserError where there is none, weights are
    missing or no safetensors, code comes with it that is not trusted, or dtype is not float32 or bfloat16.
    """
    if dtype not in DTYPES:
        raise UserError(f"model.dtype={dtype!r} must be one of {', '.join(DTYPES)}.")
    if is_adapter(path):
        base, its_revision = base_of(Path(path))
        below = load(base, dtype, its_revision, trust_remote_code, quantize=quantize)
        return load_adapter(Path(path), merged(below, base))
    with told(f"no causal LM could be loaded from {str(path)!r}", "give a folder or hub name of one"):
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, config=settled(config), dtype=DTYPES[dtype], revision=revision,
            trust_remote_code=trust_remote_code, use_safetensors=True,
            output_loading_info=True, ignore_mismatched_sizes=True,  # told below, in one sentence
            **(quantized(quantize, DTYPES[dtype]) if quantize else {}),
        )  # fmt: skip
    model, info = loaded
    keep_differentiable(model)
    if absent := sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]):
        raise UserError(  # transformers would go on with random weights
            f"{str(path)!r} holds no whole causal LM: {absent[:3]} are missing or misshapen in its weights."
        )
    return model


def load_merged(
    path: str | Path, dtype: str = "float32", revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Load as `load` does, with an adapter merged into its base: plain weights."""
    return merged(load(path, dtype, revision, trust_remote_code), path)


def trainable(
    model: nn.Module, lora: Mapping[str, Any], gradient_checkpointing: bool, seed: int, revision: str | None = None
) -> nn.Module:
    """Make a loaded base a policy: all parameters trained when `lora.r` is 0, else a fresh adapter of rank r; with
    `lora.continue` the adapter that was loaded with the model.

    lora: r, alpha, dropout, target_modules (list of module name endings, `all-linear`, or null for the
    architecture's default), continue. revision: of a base from the hub, its commit, which an adapter's folder then
    names.
    UserError names the linear modules that exist when a target does not.
    """
    torch.manual_seed(seed)
    if coefficient := _balancing(model.config):
        _say_once(f"the router's balancing loss ({coefficient}) is not part of the objectives")
    if lora.get("continue"):
        model = continued(model, lora["dropout"])
    elif lora["r"]:
        model = with_adapter(model, lora, revision)
    else:
        model.requires_grad_(True)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    # PEFT calls toggle requires_grad; a base weight that slipped in (or an adapter that slipped out) stops us here.
    adapted = bool(lora.get("continue") or lora["r"])
    assert all(("lora_" in name) == adapted for name in names), f"wrong trainable set: {names[:5]}"
    return model.train()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode; then each module gets back the mode it had (frozen parts may be kept in eval mode)."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def average(weights: Mapping[Any, float], dtype: str = "float32", trust_remote_code: bool = False) -> PreTrainedModel:
    """Σ w·θ over models, each by its folder, or by folder or hub name and revision (adapters merged first); all of one
    architecture.

    Tied embeddings stay tied where they are in all of the models.
    """
    named = [where if isinstance(where, tuple) else (where, None) for where in weights]
    (first, weight), *rest = zip(named, weights.values(), strict=True)
    model = load_merged(first[0], dtype, first[1], trust_remote_code)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(weight)
        for (path, revision), weight in rest:
            other = load_merged(path, dtype, revision, trust_remote_code)
            for parameter, (theirs,) in side_by_side(model, [other]):
                parameter.add_(theirs, alpha=weight)
    return model


def export(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path, carried: str | Path | None = None
) -> None:
    """Save model (or adapter) and tokenizer to `folder`, safetensors; whole or not at all. All ranks call it, the first
    one writes.

    carried: the folder of an adapter's base that may not stay where it is; the adapter's folder then holds it.
    """
    weights = {"state_dict": gathered(model)} if is_sharded(model) else {}
    if not is_first():
        return
    scratch = folder.with_name(f"{folder.name}.writing")
    files.remove(scratch)
    for config in getattr(model, "peft_config", {}).values():  # sets are written in an order of chance
        vars(config).update({key: sorted(value) for key, value in vars(config).items() if isinstance(value, set)})
    with by_its_own_class(model):
        model.save_pretrained(scratch, **weights)  # type: ignore[operator]
    tokenizer.save_pretrained(scratch)
    if carried is not None and is_adapter(scratch):
        carry(carried, scratch, folder)
    files.remove(folder)
    files.replace(scratch, folder)


def fingerprint(path: str | Path, revision: str | None = None) -> str:
    """Return what identifies a model for the cache: names, sizes and times of a folder's files, and the content of
    small ones; for a hub model its name and the commit that `revision` stands for."""
    folder = Path(path)
    if not folder.is_dir():
        return f"{path}@{commit(str(path), revision)}"
    digest = hashlib.sha256()
    if is_adapter(folder):
        digest.update(fingerprint(*base_of(folder)).encode())
    for file in sorted(f for f in folder.iterdir() if f.is_file()):
        content = file.read_bytes() if file.stat().st_size < 2**24 else str(file.stat().st_mtime_ns).encode()
        digest.update(f"{file.name}:{file.stat().st_size}:".encode() + content)
    return digest.hexdigest()


def commit(path: str, revision: str | None = None) -> str:
    """The commit that a hub model's branch or tag stands for (None: its default branch); UserError where there is none.

    Read off the place of its config.json in the hub's cache, so that it needs no network where that is filled.
    """
    if place(path).is_file():
        raise UserError(f"{path!r} is a file, not a model; give a folder or hub name of one.")
    with told(f"{path!r} is neither a folder nor a hub model", "check the name, the revision, or the network"):
        found = extract_commit_hash(cached_file(path, "config.json", revision=revision), None)
    if found is None:
        raise UserError(f"{path!r} (revision {revision}) has no commit on the hub; give a folder.")
    return found


def _balancing(config: Any) -> str | None:
    """Return how a mixture of experts sets the weight of its balancing loss, where that is not 0."""
    for name in ("router_aux_loss_coef", "aux_loss_alpha"):
        if value := getattr(config.get_text_config(), name, None):
            return f"{name}={value}"
    return None


def described(policy: nn.Module, lora: Mapping[str, Any]) -> str:
    """Return what of a policy is trained, with `trainable`'s settings, in words."""
    count = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
    kind = f"LoRA r={lora['r']}" if lora["r"] else "all parameters"
    return f"{'the adapter goes on' if lora.get('continue') else kind}, {count:,} trained"


@lru_cache
def _say_once(sentence: str) -> None:
    log.info(sentence)
