"""What happens to each causal family of the installed transformers, held to plain forwards: `make families`.

Each is built small, given rows beyond its windows and laid out as a run would; its log-probs and parameter gradients
are compared with those of its own logits, one sequence at a time. `families.csv` beside this file holds the results.
"""

import csv
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from small import FAMILIES, VOCABULARY, small_model
from torch import nn

from xright import models
from xright.data.rows import Row
from xright.errors import UserError
from xright.forward.collate import collate
from xright.forward.fits import check_fits
from xright.forward.logprobs import response_logps
from xright.forward.packing import choose_layout

HERE = Path(__file__).parent
COLUMNS = ("family", "outcome", "why", "logps", "gradients", "lora")
TOKENIZER: Any = SimpleNamespace(get_vocab=lambda: {str(number): number for number in range(VOCABULARY)})
LENGTHS = [(9, (14, 11)), (2, (5, 7)), (0, (6, 4))]  # of prompt and responses; the second prompt follows the first
LORA = {"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": "all-linear"}


def rows() -> list[Row]:
    """Pairs of random tokens, seeded."""
    draw = torch.Generator().manual_seed(1)
    sides = [
        [torch.randint(1, VOCABULARY, (n,), generator=draw).tolist() for n in (prompt, *rest)]
        for prompt, rest in LENGTHS
    ]
    sides[1][0] = sides[0][0] + sides[1][0]  # so that rows of a line have tokens in common, too
    return [Row(number, prompt, tuple(responses)) for number, (prompt, *responses) in enumerate(sides)]


def outcome(family: str) -> dict[str, Any]:
    """The family's line of the table: packed, padded, refused (and why), or not built (by `small.py`)."""
    line: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"family": family}
    try:
        model = small_model(family)
        model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
    except Exception as error:  # a config that these sizes do not suit
        return line | {"outcome": "not built", "why": f"{type(error).__name__}: {first_line(error)}"}
    try:
        check_fits(model, TOKENIZER, max_length=32)
        policy = models.trainable(model, {"r": 0}, False, seed=0)
        expected = plain(policy)
        with said() as sentences:
            layout = choose_layout(policy, "packed")
        why = sentences[-1].partition("cannot be packed: ")[2] if sentences else ""
        off = [differences(found(policy, each), expected) for each in {layout, "padded"}]
        logps, gradients = map(max, zip(*off, strict=True))
        line |= {"outcome": layout, "why": why, "logps": f"{logps:.0e}", "gradients": f"{gradients:.0e}"}
    except UserError as error:
        return line | {"outcome": "refused", "why": str(error)}
    except Exception as error:
        return line | {"outcome": "traceback", "why": f"{type(error).__name__}: {first_line(error)}"}
    try:
        policy = models.trainable(small_model(family), LORA, False, seed=0)
        found(policy, choose_layout(policy, "packed"))
        line["lora"] = "yes"
    except UserError as error:
        line["lora"] = str(error).partition(" Incompatible modules")[0]  # a set follows, in the order of its hashes
    except Exception as error:
        line["lora"] = f"traceback: {type(error).__name__}: {first_line(error)}"
    return line


class Sentences(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


@contextmanager
def said() -> Iterator[list[str]]:
    """Inside, the list of what xright says."""
    handler = Sentences()
    logging.getLogger("xright").addHandler(handler)
    try:
        yield handler.found
    finally:
        logging.getLogger("xright").removeHandler(handler)


Numbers = tuple[torch.Tensor, list[torch.Tensor]]


def plain(model: Any) -> Numbers:
    """Log-probs of all responses by the model's own logits, one sequence at a time; the gradients of a sum of them."""
    logps = []
    with models.evaluating(model):
        for response in range(2):
            for row in rows():
                ids = torch.tensor([row.prompt + row.responses[response]])
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
                token_logps = logits.float().log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
                logps.append(token_logps[max(0, len(row.prompt) - 1) :].double().sum())
    return _with_gradients(model, torch.stack(logps))


def found(model: nn.Module, layout: str) -> Numbers:
    """The same as xright computes it."""
    return _with_gradients(model, response_logps(model, collate(rows(), 0, layout))[0])


def _with_gradients(model: nn.Module, logps: torch.Tensor) -> Numbers:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weighted = logps @ torch.linspace(1, 3, len(logps), dtype=logps.dtype)
    gradients = torch.autograd.grad(weighted, parameters, allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    return logps.detach(), zeros


def differences(ours: Numbers, expected: Numbers) -> tuple[float, float]:
    """‖difference‖ / ‖expected‖ of log-probs, and of all gradients as one vector."""
    flat = [torch.cat([g.flatten() for g in gradients]).double() for _, gradients in (ours, expected)]
    return float((ours[0] - expected[0]).norm() / expected[0].norm()), float(
        (flat[0] - flat[1]).norm() / flat[1].norm()
    )


def first_line(error: Exception) -> str:
    """Of what an error says."""
    return (str(error).splitlines() or [""])[0][:120]


def sweep(families: tuple[str, ...] = FAMILIES) -> Iterator[dict[str, Any]]:
    """A line per family, as they are done."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    for family in families:
        yield outcome(family)


def table(lines: Iterable[Mapping[str, str]]) -> str:
    """Markdown of the csv's lines, and the count of each outcome."""
    lines = list(lines)
    counts = Counter(line["outcome"] for line in lines)
    text = [
        "| family | outcome | log-probs | gradients | all-linear LoRA | why |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for line in lines:
        cells = [line[name].replace("|", "\\|") for name in ("family", "outcome", "logps", "gradients", "lora", "why")]
        text.append(f"| {' | '.join(cells)} |")
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    return "\n".join([*text, "", f"{len(lines)} families of transformers {transformers.__version__}: {told}.", ""])


def read() -> list[dict[str, str]]:
    """The lines of the csv."""
    with (HERE / "families.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Write the csv, and the table into README.md."""
    sys.path.insert(0, str(HERE.parent))
    from options import no_options
    from publish import between_markers

    no_options(__doc__)
    with (HERE / "families.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for line in sweep():
            writer.writerow(line)
            print(*line.values(), sep=" | ", flush=True)
    between_markers(HERE / "README.md", table(read()))


if __name__ == "__main__":
    main()
