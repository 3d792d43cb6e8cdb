"""Win rate: how often a reward model prefers a model's answer to the reference answer (fig 5 of arXiv 2410.15483).

A pair is won where r(prompt, answer) − r(prompt, reference) > epsilon, lost where it is < −epsilon, else tied; a tie
counts half. The interval is a bootstrap over prompts with a fixed seed. Reward models tend to like length, so the mean
lengths stand beside the rate, and a second rate is over pairs of similar length alone.

The reward model is a sequence classifier with one output. The paper's, UltraRM-13b, reads "Human: …\\n\\nAssistant: …".
"""

import copy
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xright.data.templates import Template
from xright.data.tokens import Tokens
from xright.errors import UserError, check_number
from xright.evaluation.answers import Prompt, answers
from xright.evaluation.classifier import Classifier
from xright.evaluation.judged_text import Pair, said
from xright.evaluation.questions import Questions, keep
from xright.evaluation.subject import Subject
from xright.evaluation.task import Metric, Result, Task, mean


class RewardModel:
    """path: folder or hub name of a sequence classifier with one output. text: what it is shown, with {prompt} and
    {answer}, or chat. epsilon: rewards closer than this are a tie. near: lengths are similar where they differ by at
    most this share of the longer one's tokens. UserError where there is no such model, and for one with more outputs.
    """

    def __init__(
        self,
        path: str,
        text: str,
        epsilon: float = 0.0,
        near: float = 0.2,
        dtype: str = "float32",
        batch_size: int = 16,
    ) -> None:
        self.epsilon = check_number("epsilon", epsilon, lambda x: x >= 0, "a reward >= 0")
        self.near = check_number("near", near, lambda x: 0 <= x < 1, "a share in [0, 1)")
        self.classifier = Classifier(path, Pair(text), dtype, batch_size)
        if len(labels := self.classifier.labels) != 1:
            raise UserError(
                f"the model {path!r} has the outputs {', '.join(labels)}; a reward model has one, use such."
            )

    def rewards(self, pairs: Sequence[tuple[str, str]]) -> tuple[list[float], int]:
        """Return the reward of each (prompt, answer), and how many texts were cut. Equal texts have one reward,
        whatever the batch."""
        distinct = list(dict.fromkeys(pairs))
        logits_NL, truncated = self.classifier.logits(distinct)
        rewards = dict(zip(distinct, logits_NL[:, 0].tolist(), strict=True))
        if not all(map(math.isfinite, rewards.values())):
            raise UserError(f"the reward model {self.classifier.path!r} gives NaN or infinite rewards; get it anew.")
        return [rewards[pair] for pair in pairs], truncated

    def compare(
        self, prompts: Sequence[str], given: Sequence[str], references: Sequence[str], tokenizer: Any
    ) -> tuple[Result, dict[str, list[Any]]]:
        """The result, and a column each of rewards, reference rewards and outcomes (1 won, 0.5 tied, 0 lost).

        tokenizer: in whose tokens both answers' lengths are told. Metrics: win_rate, and, where there are such pairs,
        win_rate/similar_length.
        """
        given, references = [said(text) for text in given], [said(text) for text in references]
        pairs = [*zip(prompts, given, strict=True), *zip(prompts, references, strict=True)]
        rewards, truncated = self.rewards(pairs)
        own, others = rewards[: len(given)], rewards[len(given) :]
        outcomes = [self._outcome(a - b) for a, b in zip(own, others, strict=True)]
        tokens, other_tokens = _lengths(tokenizer, given), _lengths(tokenizer, references)
        similar = [
            outcome
            for outcome, a, b in zip(outcomes, tokens, other_tokens, strict=True)
            if abs(a - b) <= self.near * max(a, b)
        ]
        metrics: dict[str, Metric] = {"win_rate": mean(outcomes, higher_is_better=True)}
        if similar:
            metrics["win_rate/similar_length"] = mean(similar, higher_is_better=True)
        details = {
            "reward_model": self.classifier.path,
            "wins": outcomes.count(1.0), "ties": outcomes.count(0.5), "losses": outcomes.count(0.0),
            "mean_reward": _means(own, others),
            "mean_tokens": _means(tokens, other_tokens),
            "mean_characters": _means([len(text) for text in given], [len(text) for text in references]),
            "pairs_of_similar_length": len(similar),
            "texts_cut": truncated,
        }  # fmt: skip
        return Result(metrics, details), {"reward": own, "reference_reward": others, "outcome": outcomes}

    def _outcome(self, difference: float) -> float:
        return 0.5 if abs(difference) <= self.epsilon else float(difference > 0)


class WinRate(Task):
    """prompts: rows with prompt and reference, the answer to be beaten. template: how the prompts are written out for
    the model, in the place of the subject's own: raw for hh-rlhf's, which carry their transcript; null: as others.

    Metrics and details: `RewardModel.compare`. Kept in <folder>/evaluation/<name>_{answers,rewards}.jsonl.
    """

    def __init__(
        self, prompts: Questions, reward_model: RewardModel, template: str | None = None, max_new_tokens: int = 256
    ) -> None:
        self.prompts, self.reward_model, self.max_new_tokens = prompts, reward_model, max_new_tokens
        self.template = None if template is None else Template(template)

    def files(self) -> Mapping[str, str | Path]:
        """Return the file of prompts, where it is one."""
        return self.prompts.files()

    def check(self, subject: Subject) -> None:
        """UserError for prompts that cannot be used, or without reference."""
        self._contests()

    def run(self, subject: Subject) -> Result:
        """Generate the answers, score them, and count who wins."""
        prompts, folder = self._contests(), subject.folder / "evaluation"
        if self.template is not None:
            subject = copy.copy(subject)
            subject.template = self.template
        given = answers(subject, prompts, folder / f"{self.name}_answers.jsonl", self.max_new_tokens)
        subject.release()
        texts, references = [answer.answer for answer in given], [prompt.about["reference"] for prompt in prompts]
        result, columns = self.reward_model.compare([p.text for p in prompts], texts, references, subject.tokenizer)
        keep(folder / f"{self.name}_rewards.jsonl", prompts, given, **columns)
        result.details["prompts"] = self.prompts.path
        return result

    def _contests(self) -> list[Prompt]:
        prompts = self.prompts.prompts(needs=["reference"], takes=())
        for prompt in prompts:
            if not isinstance(prompt.about["reference"], str) or not said(prompt.about["reference"]):
                where = f"prompt {prompt.id} in {self.prompts.path!r}"
                raise UserError(f"the reference of {where} is empty or no text; mend it, or leave the row out.")
        return prompts


def _lengths(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    return [len(ids) for ids in Tokens(tokenizer).ids(texts)]


def _means(model: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    return {"model": statistics.fmean(model), "reference": statistics.fmean(reference)}
