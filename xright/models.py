"""Policies and references: any Hugging Face causal LM, by folder, hub name, or built on the spot from a config.

A *base* is what every method starts from. A *policy* is a base, trained in full or through a fresh LoRA adapter. Models
are saved in the Hugging Face / PEFT layout with their tokenizer, in safetensors, so that transformers and peft load
them without xright. An adapter's folder names its base; `load` follows that.

Weights are read from safetensors only: a pickle can run code when it is loaded. Code that comes with a model runs only
with `trust_remote_code`.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file, extract_commit_hash

from xright.errors import UserError
from xright.objectives.logprobs import backbone_and_head

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_tokenizer(
    path: str, trust_remote_code: bool = False, revision: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or on the hub; UserError where there is none."""
    with _told(f"no tokenizer could be loaded from {path!r}", "give a folder or hub name"):
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code, revision=revision)


def build(architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A randomly initialised causal LM: `architecture` is a transformers config with its `model_type`.

    Vocabulary size and special ids come from the tokenizer. UserError for an unknown model_type or setting.
    """
    settings = dict(architecture)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    with _told(f"model.init={dict(architecture)} builds no causal LM", "give a transformers config of one"):
        config = AutoConfig.for_model(settings.pop("model_type"), vocab_size=len(tokenizer), **ids, **settings)
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(_without_dropout(config))


def load(
    path: str | Path, dtype: str = "float32", revision: str | None = None, trust_remote_code: bool = False
) -> nn.Module:
    """The causal LM in a folder or on the hub, dropout off; an adapter folder gives its base with the adapter on it.

    UserError where there is none, its weights are not all there or no safetensors, it comes with code that is not
    trusted, or the dtype is not float32 or bfloat16.
    """
    if dtype not in DTYPES:
        raise UserError(f"model.dtype={dtype!r} must be one of {', '.join(DTYPES)}.")
    if (Path(path) / "adapter_config.json").is_file():
        base, its_revision = _base_of(Path(path))
        return _load_adapter(Path(path), load(base, dtype, its_revision, trust_remote_code))
    with _told(f"no causal LM could be loaded from {str(path)!r}", "give a folder or hub name of one"):
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, config=_without_dropout(config), dtype=DTYPES[dtype], revision=revision,
            trust_remote_code=trust_remote_code, use_safetensors=True,
            output_loading_info=True, ignore_mismatched_sizes=True,  # told below, in one sentence
        )  # fmt: skip
    model, info = loaded
    # In these places transformers would go on with random weights.
    if absent := sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]):
        raise UserError(
            f"{str(path)!r} holds no whole causal LM: {absent[:3]} are missing or misshapen in its weights."
        )
    return model


def load_merged(path: str | Path, dtype: str = "float32") -> PreTrainedModel:
    """As `load`, with an adapter merged into its base: plain weights."""
    model = load(path, dtype)
    return model.merge_and_unload() if isinstance(model, PeftModel) else model  # type: ignore[return-value]


def trainable(
    model: nn.Module, lora: Mapping[str, Any], gradient_checkpointing: bool, seed: int, revision: str | None = None
) -> nn.Module:
    """Make a loaded base a policy: all parameters trained when `lora.r` is 0, else a fresh adapter of rank r.

    lora: r, alpha, dropout, target_modules (list of module name endings, `all-linear`, or null for the
    architecture's default). revision: of a base from the hub, its commit, which an adapter's folder then names.
    UserError names the linear modules that exist when a target does not.
    """
    torch.manual_seed(seed)
    if lora["r"]:
        model = _with_adapter(model, lora, revision)
    else:
        model.requires_grad_(True)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    # PEFT calls toggle requires_grad; a base weight that slipped in (or an adapter that slipped out) stops us here.
    assert all(("lora_" in name) == bool(lora["r"]) for name in names), f"wrong trainable set: {names[:5]}"
    return model.train()


def check_fits(model: nn.Module, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """UserError if token ids exceed the embedding, or rows its positions; for an encoder; for damaged weights.

    Also holds the shortcut of `objectives/logprobs.py` (body, then output head on some positions) to the model's own
    logits: an architecture that does something unknown to its logits afterwards would be trained on something else.
    """
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if len(tokenizer) > rows:
        raise UserError(f"the tokenizer has {len(tokenizer)} tokens but the model's embedding only {rows} rows.")
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and max_length > positions:
        raise UserError(f"data.max_length={max_length} exceeds the model's {positions} positions; lower it.")
    body, head = backbone_and_head(model)
    ids = torch.arange(4, device=next(model.parameters()).device)[None] % len(tokenizer)
    output: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
    with evaluating(model), torch.no_grad():
        hidden, other = (body(input_ids=i, use_cache=False).last_hidden_state for i in (ids, ids * (ids != ids[0, 3])))
        amplify = output.register_forward_hook(lambda _module, _input, logits: 1000 * logits)  # a fresh model's logits
        ours, own = head(hidden), model(input_ids=ids).logits  # are too small for a cap to show
        amplify.remove()
    name = type(model).__name__
    if not own.isfinite().all():
        raise UserError(f"{name} computes NaN or infinite logits: its weights are damaged; get them anew.")
    if not torch.allclose(hidden[:, :3], other[:, :3], rtol=1e-4, atol=1e-5):  # only the last token is another
        raise UserError(f"{name} looks ahead: a token changes what stands before it; use a causal LM, not an encoder.")
    if not torch.allclose(ours.float(), own.float(), rtol=1e-2, atol=1e-2):
        way = "after the output head in a way xright does not know"
        raise UserError(f"{name} changes its logits {way}; use another family.")


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


def average(weights: Mapping[Path, float], dtype: str = "float32") -> PreTrainedModel:
    """Σ w·θ over the models in the folders given (adapters merged first); all of one architecture."""
    (first, weight), *rest = weights.items()
    model = load_merged(first, dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(weight)
        for folder, weight in rest:
            others = dict(load_merged(folder, dtype).named_parameters())
            for name, parameter in model.named_parameters():
                parameter.add_(others[name], alpha=weight)
    return model


def export(model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save model (or adapter) and tokenizer to `folder`, safetensors; whole or not at all."""
    scratch = folder.with_name(f"{folder.name}.writing")
    shutil.rmtree(scratch, ignore_errors=True)
    model.save_pretrained(scratch)  # type: ignore[operator]
    tokenizer.save_pretrained(scratch)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def fingerprint(path: str | Path, revision: str | None = None) -> str:
    """What identifies a model for the cache: names, sizes and times of a folder's files, and the content of small ones;
    for a hub model its name and the commit that `revision` stands for."""
    folder = Path(path)
    if not folder.is_dir():
        return f"{path}@{commit(str(path), revision)}"
    digest = hashlib.sha256()
    if (folder / "adapter_config.json").is_file():
        digest.update(fingerprint(*_base_of(folder)).encode())
    for file in sorted(f for f in folder.iterdir() if f.is_file()):
        content = file.read_bytes() if file.stat().st_size < 2**24 else str(file.stat().st_mtime_ns).encode()
        digest.update(f"{file.name}:{file.stat().st_size}:".encode() + content)
    return digest.hexdigest()


def commit(path: str, revision: str | None = None) -> str:
    """The commit that a hub model's branch or tag stands for (None: its default branch); UserError where there is none.

    Read off the place of its config.json in the hub's cache, so that it needs no network where that is filled.
    """
    with _told(f"{path!r} is neither a folder nor a hub model", "check the name, the revision, or the network"):
        found = extract_commit_hash(cached_file(path, "config.json", revision=revision), None)
    if found is None:
        raise UserError(f"{path!r} (revision {revision}) has no commit on the hub; give a folder.")
    return found


def _with_adapter(model: nn.Module, lora: Mapping[str, Any], revision: str | None) -> nn.Module:
    targets = lora["target_modules"] or None  # a list, or what peft knows by a word: all-linear
    targets = targets if isinstance(targets, str | None) else list(targets)
    linear = sorted({name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)})
    named = [f".{name}" for name, _ in model.named_modules()]
    wanted = targets if isinstance(targets, list) else []
    missing = [target for target in wanted if not any(name.endswith(f".{target}") for name in named)]
    if missing:
        raise UserError(f"model.lora.target_modules names {missing}, but the model's linear modules are {linear}.")
    with _told("model.lora does not fit the model", f"its linear modules are {linear}"):
        config = LoraConfig(
            r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=targets,
            task_type="CAUSAL_LM",
        )  # fmt: skip
        return get_peft_model(model, config, revision=revision)


def _load_adapter(folder: Path, base: nn.Module) -> PeftModel:
    """The adapter in a folder, on its base; UserError if it is no adapter of that base, whole and in safetensors."""
    with _told(f"no adapter could be loaded from {str(folder)!r}", "it must hold a whole adapter_model.safetensors"):
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            held = set(file.keys())
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=False)
    if absent := sorted(get_peft_model_state_dict(model).keys() - held):
        raise UserError(f"{str(folder)!r} holds no whole adapter: {absent[:3]} are missing in its weights.")
    return model


def _base_of(adapter: Path) -> tuple[str, str | None]:
    """The base model that an adapter's folder names, and its revision on the hub."""
    file = adapter / "adapter_config.json"
    with _told(f"{str(file)!r} names no base model that can be found", "mend its base_model_name_or_path"):
        settings = json.loads(file.read_text())
        base, revision = settings["base_model_name_or_path"], settings.get("revision")
        if not Path(base).is_dir():
            PreTrainedConfig.get_config_dict(base, revision=revision)  # on the hub
        return base, revision


@contextmanager
def _told(problem: str, remedy: str) -> Iterator[None]:
    """`<problem> (<reason>); <remedy>.` as a UserError for whatever is raised in the block but a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # broken folders make transformers and peft raise a dozen unrelated types
        if "trust_remote_code" in str(error):
            remedy = "it comes with code of its own; read that, and set model.trust_remote_code=true to run it"
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(" .")
        raise UserError(f"{problem} ({reason}); {remedy}.") from error


def _without_dropout(config: Any) -> Any:
    """Policy dropout is 0: with it, policy and reference would differ although their weights are equal."""
    for key in config.to_dict():
        if key.endswith(("dropout", "layerdrop", "pdrop")):
            setattr(config, key, 0.0)
    return config
