"""MMLU, HellaSwag and whatever else EleutherAI's lm-evaluation-harness defines, on the model as it is in memory.

The harness is used as a library: its task definitions (prompt, few-shot examples, choices, metric), its loop and its
wrapper of a transformers model, so that the numbers are those of its own command line. Only where the rows come from
is ours to say (`harness_tasks.py`). An adapter stays on its base.

The paper: MMLU 1-shot (the example is the subject's first development row), HellaSwag.
"""

import copy
import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xright.data.tokens import Tokens
from xright.errors import UserError
from xright.evaluation.harness_tasks import definitions, quiet
from xright.evaluation.subject import Subject
from xright.evaluation.task import Metric, Result, Task, share
from xright.machine.told import told


class Harness(Task):
    """task: a task or group of the harness. definition: the folder below lm_eval/tasks that defines it; null: it is
    looked for, which takes long. num_fewshot: worked examples before each question; null: as many as the task is
    defined with. metric: what is compared between models; null: the first that the task is defined with. The harness's
    others are kept in the details. rows: {split: file of rows}, below
    `data_dir`; null, like data_dir: null, for the hub. Where a definition names a subset (MMLU's subjects), its rows
    are those with that `subject`. limit: the first rows of each subset only; null: all.
    """

    def __init__(
        self,
        task: str,
        definition: str | None = None,
        num_fewshot: int | None = None,
        metric: str | None = "acc",
        data_dir: str | None = None,
        rows: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> None:
        for name, value, least in (("num_fewshot", num_fewshot, 0), ("limit", limit, 1)):
            if value is not None and (not isinstance(value, int) or value < least):
                raise UserError(f"{name}={value!r} of {task} must be a whole number >= {least}.")
        self.task, self.definition, self.num_fewshot = task, definition, num_fewshot
        self.metric, self.limit = metric, limit
        self.checked = False
        self.rows = {split: Path(data_dir) / file for split, file in rows.items()} if data_dir and rows else {}

    def files(self) -> Mapping[str, str | Path]:
        """Return the local files of rows, by split."""
        return self.rows

    def check(self, subject: Subject) -> None:
        """UserError where the harness is not installed, has no such task, or rows are missing; and for a tokenizer that
        cannot read English, as the generated world's."""
        Tokens(subject.tokenizer).ids(["Question: 1 + 1?\nAnswer: B"])
        if not self.checked:
            with tempfile.TemporaryDirectory() as folder:
                self._manager(folder)
            self.checked = True

    def run(self, subject: Subject) -> Result:
        """Evaluate as `lm_eval --tasks <task> --num_fewshot <n>` would."""
        with quiet(), tempfile.TemporaryDirectory() as folder:
            import lm_eval

            with told(f"the rows of {self.task} could not be used", "see data_dir= and rows="):
                loaded = self._manager(folder).load([self.task])
            for task in loaded["tasks"].values():
                metric = self._known_metric(task)
                if self.num_fewshot is not None:
                    task.set_config(key="num_fewshot", value=self.num_fewshot)
                task.set_fewshot_seed(seed=lm_eval.defaults.DEFAULT_OTHER_SEED)  # as its command line does
            model = _wrapped(subject, self.task)
            found: Any = lm_eval.evaluate(model, loaded, limit=self.limit, bootstrap_iters=1000, log_samples=False)
        return self._result(found, metric, model.cut)

    def _manager(self, folder: str) -> Any:
        return definitions(self.task, self.definition, self.rows, self.num_fewshot, folder=Path(folder))

    def _known_metric(self, task: Any) -> str:
        known = [str(metric["metric"]) for metric in task.get_config("metric_list")]
        if self.metric not in (*known, None):
            raise UserError(f"metric={self.metric!r} of {self.task} is unknown; it has {', '.join(known)}.")
        return self.metric or known[0]

    def _result(self, found: Mapping[str, Any], metric: str, cut: int) -> Result:
        counts = {name: count["effective"] for name, count in found["n-samples"].items()}
        own, better = found["results"][self.task], found["higher_is_better"].get(self.task, {})
        metrics = {
            name: _metric(value, _errors(own)[name], n=sum(counts.values()), higher=better.get(name, True))
            for name, value in _values(own).items()
        }
        details = {
            "by": f"lm-evaluation-harness {version('lm_eval')}",
            "num_fewshot": found["n-shot"] if self.num_fewshot is None else self.num_fewshot,
            "versions": found["versions"],
            "cut_requests": cut,
            "groups": {name: _values(result) for name, result in found.get("groups", {}).items()},
            "parts": {name: {"n": n, **_values(found["results"][name])} for name, n in counts.items()},
            "other_metrics": {name: vars(one) for name, one in metrics.items() if name != metric},
        }
        return Result({metric: metrics[metric]}, details)


def _metric(value: float, error: Any, n: int, higher: bool) -> Metric:
    """With Wilson's interval where it is a share, else with that of the harness's standard error."""
    if 0 <= value <= 1:
        return replace(share(round(value * n), n, higher), value=value)
    reach = 1.96 * error if isinstance(error, float) else math.nan
    return Metric(value, n, value - reach, value + reach, higher_is_better=higher)


def _errors(result: Mapping[str, Any]) -> dict[str, Any]:
    """The standard errors of `_values`."""
    return {key: result.get(f"{key}_stderr,{filtered}") for key, _, filtered in (k.partition(",") for k in result)}


def _values(result: Mapping[str, Any]) -> dict[str, float]:
    """The harness's own values, to the last digit: {"acc,none": …, "acc_stderr,none": …} gives {"acc": …}."""
    return {key.split(",")[0]: value for key, value in result.items() if "," in key and "stderr" not in key}


def _wrapped(subject: Subject, task: str) -> Any:
    """The harness's wrapper of the model, which counts the requests that it has to cut (on the left) for length."""
    from lm_eval.models.huggingface import HFLM

    class Counting(HFLM):
        cut = 0

        def _loglikelihood_tokens(self, requests: Any, **options: Any) -> Any:
            self.cut += sum(len(context) + len(answer) > self.max_length + 1 for _, context, answer in requests)
            if (longest := max(len(answer) for _, _, answer in requests)) > self.max_length:
                raise UserError(
                    f"an answer of {task} has {longest} tokens and max_length is {self.max_length}; raise it."
                )
            return super()._loglikelihood_tokens(requests, **options)

    # A copy of the tokenizer, since the harness gives it a pad token.
    tokenizer = copy.deepcopy(subject.tokenizer)
    return Counting(subject.policy, tokenizer=tokenizer, batch_size=subject.batch_size, max_length=subject.max_length)
