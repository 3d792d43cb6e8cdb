"""The model card of a run: `model/README.md`, in the metadata format of the Hugging Face hub.

It says what the weights were trained on, by which rule, how far from each optimum they ended, and by which command.
Metadata are made by huggingface_hub's own classes, so that the hub reads them; what is not known is left out, in the
metadata and in words. Nothing in it depends on when or where the run was made, so a resumed run has the same card.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers.utils import cached_file

from xright.evaluation.certificate import Certificate
from xright.machine import files
from xright.machine.paths import place
from xright.models.adapters import is_adapter
from xright.pipeline.certificates import sentences

PAPER = "https://arxiv.org/abs/2410.15483"
Config = Mapping[str, Any]


def write_card(model: Path, config: Config, result: Mapping[str, Any], more: Sequence[str] = ()) -> None:
    """Write the card of a run into the folder of its model. more: sections of one's own, in Markdown, at the end."""
    text = "\n\n".join([*_sections(config, result), *more])
    files.write(model / "README.md", f"---\n{metadata(config, result, is_adapter(model)).to_yaml()}\n---\n\n{text}\n")


def metadata(config: Config, result: Mapping[str, Any], adapter: bool) -> ModelCardData:
    """Return what the hub reads: licence and name of the base where they are known, data sets, losses as results.

    adapter: whether the folder holds an adapter, and not whole weights.
    """
    base, local, trained = config["model"]["path"], result["inputs"], _trained(result)
    sources = [path for stream in (config["data"].get("streams") or {}).values() for path in _paths(stream or {})]
    results = [
        EvalResult(
            task_type="text-generation", dataset_type="private", dataset_name=f"{result['eval_on']} rows",
            metric_type="loss", metric_name=f"f_{one['label']} ({one['unit']})", metric_value=round(one["f"], 6),
        ) for one in trained.values()
    ]  # fmt: skip
    return ModelCardData(
        base_model=base if base and base not in local else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        license=base_licence(base) if base else None,
        datasets=sorted({path for path in sources if path not in local}) or None,
        tags=["xright", "joint-post-training", *dict.fromkeys([result["strategy"], *trained])],
        model_name=result["label"],
        eval_results=results,
    )


def base_licence(base: str) -> str | None:
    """Return the licence that the base's own card names; None where there is no such card on this machine: no hub is
    waited for at the end of a run."""
    with suppress(Exception):  # no card, or one without metadata: the licence is not known
        folder = place(base)
        card = folder / "README.md" if folder.is_dir() else cached_file(base, "README.md", local_files_only=True)
        return ModelCard.load(str(card)).data.license
    return None


def _trained(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in result["objectives"].items() if not one["surrogate"]}


def _paths(stream: Mapping[str, Any]) -> list[str]:
    """Return the files and data sets of a stream; one that is prepared names its own source."""
    path = stream.get("path")
    path = path.get("path") if isinstance(path, Mapping) else path
    return [str(one) for one in (path if isinstance(path, list) else [path]) if one]


def _sections(config: Config, result: Mapping[str, Any]) -> Iterator[str]:
    base = config["model"]["path"]
    trained = " and ".join(one["label"] for one in _trained(result).values())
    yield f"# {result['label']}"
    yield (
        f"{f'`{base}`' if base else 'A model that was built for the run'}, trained on {trained} by xright "
        f"{result['versions']['xright']}: joint post-training after [arXiv 2410.15483]({PAPER}). {_licence(base)}"
    ).rstrip()
    yield (
        "## Objectives\n\n"
        + _table(
            ["objective", "loss", "weight", "steps", "f at the end", "f\\*", "gap"],
            [
                [one["label"], _loss(config, name), _weight(result, name), one["steps"],
                 *(_number(one[key]) for key in ("f", "optimum", "gap"))] for name, one in _trained(result).items()
            ],
        )
        + f"\n\nOn {result['eval_on']} rows. The reference is `{result['reference']}`."
    )  # fmt: skip
    yield "## Data\n\n" + _table(
        ["stream", "from", "trained on", "held out", "rows' identity"],
        [[name, ", ".join(_paths(config["data"].get("streams", {}).get(name) or {})) or "generated", one["rows"],
          one["heldout"], f"`{one['identity']}`"] for name, one in result["data"].items()],
    )  # fmt: skip
    if certified := {name: Certificate.of_data(one) for name, one in result.get("certificate", {}).items()}:
        yield "## Certificate\n\n" + "\n".join(f"- {line}." for line in sentences(certified))
    yield f"## Made by\n\n```bash\npython -m xright.run {shlex.join(result['overrides'])}\n```\n\n" + ", ".join(
        f"{name} {version}" for name, version in result["versions"].items()
    )


def _licence(base: str | None) -> str:
    """Return a sentence on the licence of the base, if there is one."""
    if base is None:
        return ""
    known = base_licence(base)
    return f"Licence of the base: {known}." if known else "The licence of the base is not known here; look it up."


def _loss(config: Config, name: str) -> str:
    """Return the class of an objective and its settings, as ("DPO, beta 0.1")."""
    node = config["objectives"][name]
    settings = [f"{key} {value}" for key, value in node.items() if key not in ("_target_", "stream")]
    return ", ".join([node["_target_"].rpartition(".")[2], *settings])


def _weight(result: Mapping[str, Any], name: str) -> str:
    weights = result["method"]["weights"]
    return "–" if not weights or name not in weights else f"{weights[name]:g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
