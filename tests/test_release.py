"""What a release consists of beside the code: its files agree with each other and with the repository."""

import re
from pathlib import Path

import pytest
import yaml

import xright

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version():
    (heading, *_) = re.findall(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)
    assert heading == xright.__version__ == yaml.safe_load(text("CITATION.cff"))["version"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_workflows_call_make(file):
    jobs = yaml.safe_load(file.read_text())["jobs"]
    ran = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = [re.fullmatch(r"make ([a-z-]+) PYTHON=python", line) for line in ran if line.startswith("make")]
    assert called or file.stem == "publish"
    assert {found[1] for found in called} <= TARGETS
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[\w./]+", name) for name in used)


def test_the_release_checks_its_tag():
    steps = yaml.safe_load(text(".github/workflows/release.yml"))["jobs"]["build"]["steps"]
    (check,) = [step["run"] for step in steps if "GITHUB_REF_NAME" in step.get("run", "")]
    found = re.search(r"sed -n '(.*)' (\S+)\)", check)
    assert found is not None
    pattern = re.search(r"\^(.*)/\\1/p", found[1])
    assert pattern is not None
    assert re.search(pattern[1].replace(r"\(", "(").replace(r"\)", ")"), text(found[2]))[1] == xright.__version__


def test_pre_commit_has_the_pinned_linter():
    repositories = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    (ruff,) = [one for one in repositories if one["repo"].endswith("ruff-pre-commit")]
    assert ruff["rev"] == "v" + re.search(r"^ruff==(.*)$", text("constraints.txt"), re.MULTILINE)[1]
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]


def test_agents_are_told_briefly():
    lines = text("AGENTS.md").splitlines()
    assert len(lines) <= 40
    for target in re.findall(r"^make ([a-z-]+)", text("AGENTS.md"), re.MULTILINE):
        assert target in TARGETS


def test_the_image_has_what_the_wheel_is_built_from():
    copied = {
        word for line in re.findall(r"^COPY (.*)$", text("Dockerfile"), re.MULTILINE) for word in line.split()[:-1]
    }
    assert {"pyproject.toml", "README.md", "LICENSE", "xright", "conf", "constraints.txt"} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_templates_are_forms():
    for name in ("fault", "rule"):
        form = yaml.safe_load(text(f".github/ISSUE_TEMPLATE/{name}.yml"))
        assert {"name", "description", "body"} <= form.keys()
        assert all(part["type"] in ("textarea", "input", "checkboxes") for part in form["body"])
    for named in re.findall(r"`([\w/.]+\.(?:md|py))`", text(".github/pull_request_template.md")):
        assert (ROOT / named).exists(), named
