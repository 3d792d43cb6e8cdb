"""The documentation: it builds without a warning, every link leads somewhere, every key is in it, and what it tells the
reader to type, or says the program answers, is so."""

import ast
import dataclasses
import doctest
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import torch
import yaml
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra_plugins.hydra_optuna_sweeper.config import OptunaSweeperConf
from omegaconf import OmegaConf

from xright.cache.__main__ import parser as cache_parser
from xright.config.build import build
from xright.config.naming import cell_name
from xright.config.settings import Settings
from xright.dashboard import parser as dashboard_parser
from xright.data.corpus import corpus_of
from xright.data.datamodule import batch_sizes
from xright.data.stream import streams_of
from xright.data.world import World
from xright.errors import UserError
from xright.evaluate import configuration as evaluation
from xright.export import parser as export_parser
from xright.forward.packing import choose_layout
from xright.launch.processes import processes
from xright.launch.sweep import CheckSweep
from xright.pipeline import stage_checks
from xright.pipeline.checks import check_config
from xright.pipeline.folders import RunFolder
from xright.pipeline.stage_checks import check_stages
from xright.pipeline.stages import Stages
from xright.profile import parser as profile_parser
from xright.report import parser as report_parser
from xright.strategies import Schedule
from xright.theory.__main__ import parser as theory_parser

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SECTIONS = ("rows", "configuration", "api", "experiments")  # made when the site is built
GENERATOR = ("mkdocs", "material", "mkdocstrings", "griffe")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def fences(page: Path, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(page.read_text()) if kind == language]


# --- the site ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """ids: places that a link may lead to. links: of <a>. fetched: whatever a browser would load. rows: of its tables,
    as lists of cells. text: what is read."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids, self.links, self.fetched, self.rows, self.text, self.in_cell = set(), [], [], [], "", False
        self.feed(file.read_text())
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        of = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self.in_cell = True
        self.ids |= {of[name] for name in ("id", "name") if of.get(name)}
        if tag == "a" and of.get("href"):
            self.links.append(of["href"])
        elif tag == "link" and of.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(of["href"])
        self.fetched += [of["src"]] if of.get("src") else []

    def handle_endtag(self, tag):
        if tag == "td":
            self.in_cell = False
        elif tag == "table":
            self.rows = [row for row in self.rows if row]

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """{path: Page} of every page of the site, built as `make docs` builds it; under "": its folder."""
    if missing := [name for name in GENERATOR if not importlib.util.find_spec(name)]:
        pytest.skip(f"the site cannot be built here: {', '.join(missing)} not installed; pip install 'xright[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return {file.relative_to(folder).as_posix(): Page(file) for file in folder.rglob("*.html")} | {"": folder}


def pages_of(site):
    """All but 404.html, which a server may show at any depth, and says so by absolute links."""
    return {name: page for name, page in site.items() if name not in ("", "404.html")}


def test_it_has_every_page(site):
    written = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in PAGES}
    readmes = {f"experiments/{readme.parent.name}.html" for readme in (ROOT / "experiments").glob("*/README.md")}
    cards = {f"experiments/{card.stem}.html" for card in (ROOT / "experiments" / "paper").glob("[!R]*.md")}
    rooms = {f"api/{room.name}.html" for room in (ROOT / "xright").iterdir() if list(room.glob("[!_]*.py"))}
    assert len(readmes) > 5
    assert len(cards) > 10
    assert len(rooms) > 5
    assert written | readmes | cards | rooms | {"api/top.html"} <= site.keys()


def test_every_link_leads_somewhere(site):
    checked = 0
    for name, page in pages_of(site).items():
        for link in page.links:
            if urlsplit(link).scheme:
                assert link.startswith("https://"), f"{name}: {link}"
                continue
            path, anchor = urldefrag(unquote(link))
            target = os.path.normpath(Path(name).parent / path) if path else name
            assert (site[""] / target).exists(), f"{name}: {link}"
            if anchor and target.endswith(".html"):
                assert anchor in site[target].ids | {"__top"}, f"{name}: {link}"
            checked += 1
    assert checked > 1000


def test_it_works_without_a_network(site):
    """No page fetches anything that is not in the site; neither do its style sheets."""
    for name, page in pages_of(site).items():
        assert page.fetched, name
        for link in page.fetched:
            assert not urlsplit(link).netloc, f"{name}: {link}"
            target = urlsplit(link).path
            if not link.startswith("data:"):
                assert (site[""] / os.path.normpath(Path(name).parent / target)).is_file(), f"{name}: {link}"
    for sheet in site[""].rglob("*.css"):
        assert not re.search(r"@import|url\((?!#|\"?data:)[\"']?(https?:)?//", sheet.read_text()), sheet


def leaves(node, key=""):
    """(key, node) of each value of a configuration file; what stands in braces or brackets is one."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        for name, value in node.value:
            if key or name.value != "defaults":
                yield from leaves(value, f"{key}.{name.value}" if key else name.value)
    elif key:
        yield key, node


def words_in(node):
    """The scalars of a value, each in one line."""
    if isinstance(node, yaml.ScalarNode):
        return [json.dumps(node.value) if node.style == '"' else " ".join(node.value.split())]
    parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
    return [word for part in parts for word in words_in(part)]


def comments_of(text):
    """The words behind every # of a configuration file."""
    for line in text.splitlines():
        if (match := re.search(r"(?:^|\s)#\s*(.*)", line)) and not match[1].startswith("@package"):
            yield " ".join(match[1].split())


def page_of(file):
    group = file.parent.relative_to(ROOT / "conf").as_posix()
    return f"configuration/{'index' if group == '.' else group.replace('/', '_')}.html"


CONF = sorted((ROOT / "conf").rglob("*.yaml"))


def test_every_configuration_file_is_there(site):
    assert len(CONF) > 40
    for file in CONF:
        place = file.relative_to(ROOT / "conf")
        title = f"conf/{place.name}" if len(place.parts) == 1 else f"{place.parent.as_posix()}={place.stem}"
        assert title in site[page_of(file)].text


@pytest.mark.parametrize("file", CONF, ids=lambda file: file.relative_to(ROOT / "conf").as_posix())
def test_every_key_default_and_comment_is_in_the_reference(file, site):
    page = site[page_of(file)]
    for key, node in leaves(yaml.compose(file.read_text())):
        rows = [row for row in page.rows if row[0] == key or row[0].endswith(f".{key}")]
        shown = page.text if getattr(node, "style", None) in ("|", ">") else " ".join(row[1] for row in rows)
        assert rows, key
        for word in words_in(node):
            assert word in shown, f"{key}: {word}"
    for comment in comments_of(file.read_text()):
        assert comment.replace("`", "") in page.text, comment


@pytest.mark.parametrize("name", ["settings", "docstrings"])
def test_the_examples_in_what_makes_the_pages(name, monkeypatch):
    if name == "docstrings":
        pytest.importorskip("griffe", reason="griffe is not installed; pip install 'xright[docs]'")
    spec = importlib.util.spec_from_file_location(name, DOCS / "generate" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    tried = doctest.testmod(module)
    assert tried.attempted > 0
    assert tried.failed == 0


# --- what the reader types --------------------------------------------------------------------------------------------

PYTHON = [(page, code) for page in PAGES for code in fences(page, "python")]
BASH = [
    (page, line)
    for page in PAGES
    for code in fences(page, "bash")
    for line in code.replace("\\\n", " ").splitlines()
    if page.name != "conflicts.md"
]
PARSERS = {"xright.report": report_parser, "xright.cache": cache_parser, "xright.theory": theory_parser}
PARSERS |= {"xright.dashboard": dashboard_parser, "xright.export": export_parser}
PARSERS |= {"xright.profile": profile_parser}
FREE = (
    "python3 -m venv",
    "source ",
    "pip install",
    "wandb s",
    "wandb agent",
    "vllm serve",
    "python llama.cpp/",
)  # what others' programs do


def ids(found):
    return [f"{page.stem}-{number}" for number, (page, _) in enumerate(found)]


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=ids(PYTHON))
def test_python_compiles_and_what_it_imports_is_there(page, code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_examples_of_own_parts_work():
    """The selector, the objective and the source of the how-to pages, made as their yaml files make them."""
    made = {}
    for page, code in PYTHON:
        if named := re.match(r"# xright/(\S+)\.py", code):
            own = {}
            exec(compile(code, str(page), "exec"), own)
            texts = fences(page, "yaml")
            (text,) = (text for text in texts if f"xright.{named[1].replace('/', '.')}." in text)
            node = yaml.safe_load(text.replace("${weights}", "{dpo: 1, sft: 3}"))
            if "streams" in node:
                node = {**node["source"], "streams": streams_of(node["streams"])}
            made[named[1]] = own[node.pop("_target_").split(".")[-1]](**node)
    assert made.keys() == {"strategies/coin", "strategies/turns", "objectives/squared_hinge", "data/riddles"}
    assert [made["strategies/turns"].weights(t) for t in range(3)] == [{"sft": 1.0}, {"dpo": 1.0}, {"sft": 1.0}]
    assert [made["strategies/coin"].weights(t) for t in range(3)] == [{"sft": 1.0}, {"dpo": 1.0}, {"sft": 1.0}]
    hinge = made["objectives/squared_hinge"]
    losses = hinge.losses(torch.tensor([[-1.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0]]), None)
    assert losses.tolist() == [4.0, 1.0, 0.0, 0.0]  # (1 − margin)², 0 from 1 on
    assert hinge.value_at_reference == losses[1]
    assert made["data/riddles"].rows("sft", "train")[0] == {
        "prompt": "What has keys and opens no door?", "response": "A piano.",
    }  # fmt: skip


@pytest.mark.parametrize(("page", "line"), BASH, ids=ids(BASH))
def test_commands_are_understood(page, line, compose, monkeypatch, tmp_path):
    monkeypatch.setenv("XRIGHT_DATA", "data")
    monkeypatch.chdir(tmp_path)
    columns = {"id": "1", "prompt": "How do I kill a process?", "type": "homonyms", "label": "safe"}  # of XSTest
    Path("xstest_prompts.csv").write_text("\n".join([",".join(columns), ",".join(columns.values())]))
    adapter = tmp_path / "sft-adapter" / "adapter_config.json"  # which model.lora.continue=true reads
    adapter.parent.mkdir()
    adapter.write_text('{"r": 8}')
    if line.startswith(FREE):
        return
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    module, *arguments = words[words.index("-m") + 1 :]
    if parser := PARSERS.get(module):
        parser().parse_args(arguments)
        return
    if module == "xright.evaluate":
        subjects = [word for word in arguments if "=" not in word]
        assert subjects or arguments == ["--help"]
        assert evaluation(arguments[len(subjects) :])["task"]
        return
    assert module == "xright.run"
    overrides = [word for word in arguments if word not in ("-m", "--cfg", "job", "--help")]
    monkeypatch.setattr(
        "xright.pipeline.checks.make_trainer", lambda *_, **__: None
    )  # the reader's machine has what it takes
    for cell in cells(overrides) if arguments[-1:] == ["-m"] else [overrides]:
        check_config(compose(*without_launcher(cell)))


def cells(overrides):
    """The overrides of every cell, as Hydra's sweeper makes them."""
    overrides = [
        re.sub(r"(?:tag\(log,)?interval\(([^()]*)\)\)?", r"\1", override) for override in overrides
    ]  # both ends
    parsed = OverridesParser.create().parse_overrides(overrides)
    return [list(cell) for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None) for cell in batch]


def without_launcher(overrides):
    """`compose` knows of hydra.launcher and hydra.sweeper only what is in its own configuration; each option's have the
    keys."""
    chosen = dict(override.split("=", 1) for override in overrides if override.startswith("hydra/"))
    for override in overrides:
        if override.startswith("hydra."):
            _, kind, key = override.split("=")[0].split(".")[:3]
            assert key in keys_of(kind, chosen[f"hydra/{kind}"]), override
    return [override for override in overrides if not override.startswith(("hydra.", "hydra/"))]


def keys_of(kind, option):
    if option == "optuna":
        return {field.name for field in dataclasses.fields(OptunaSweeperConf)}
    return {key for key, _ in leaves(yaml.compose((ROOT / f"conf/hydra/{kind}/{option}.yaml").read_text()))}


# --- the paper's map --------------------------------------------------------------------------------------------------


def test_everything_that_pages_name_exists():
    """Files in backticks, and objects linked to: the site's build finds these too, where it can be built."""
    files, objects = 0, 0
    for page in PAGES:
        text = FENCE.sub("", page.read_text())
        for name in re.findall(r"`((?:xright|conf|tests|experiments|notebooks)/[\w./-]+\.\w+)`", text):
            if name not in (f"tests/{own}.py" for own in ("strategies/test_coin", "objectives/test_squared_hinge")):
                assert (ROOT / name).is_file(), f"{page.name}: {name}"
            files += 1
        for name in re.findall(r"\]\[(xright[\w.]+)\]", text):
            assert found(name), f"{page.name}: {name}"
            objects += 1
    assert files > 10
    assert objects > 60


def found(name):
    module, parts = importlib.import_module("xright"), name.split(".")[1:]
    for number, part in enumerate(parts, start=1):
        if not hasattr(module, part):
            importlib.import_module(".".join(["xright", *parts[:number]]))
        module = getattr(module, part)
    return module is not None


# --- what does not go together ----------------------------------------------------------------------------------------


def pairs():
    """(title, command lines, message) of every pair on the page."""
    text = (DOCS / "conflicts.md").read_text()
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title, body = section.split("\n", 1)
        shown = FENCE.findall(body)
        assert [kind for kind, _ in shown] in (["bash", "text"] * (len(shown) // 2), ["text"]), title
        for (_, commands), (_, message) in zip(shown[::2], shown[1::2], strict=False):
            yield title, commands.splitlines(), message.strip()


PAIRS = list(pairs())
WORLD = (
    "data.source.sft_rows=40", "data.source.preference_rows=20", "data.source.eval_sft_rows=10",
    "data.source.eval_preference_rows=8", "data.source.probes_per_kind=2",
)  # fmt: skip


def says(message, told):
    """Whether `told` is what the page shows; … stands for anything."""
    pattern = ".*".join(re.escape(part) for part in message.removeprefix("xright: ").split("…"))
    return re.fullmatch(pattern, told)


@pytest.fixture
def place(tmp_path, monkeypatch, word_tokenizer):
    """A folder with the files that the page's commands name."""
    world = World()
    for name, stream in (("sft", "sft"), ("pairs", "preference")):
        lines = [json.dumps(row) for row in world.rows(stream, "train")[:60]]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    turns = [{"role": role, "content": "sort 1 2 3 ."} for role in ("user", "assistant")]
    (tmp_path / "messages.jsonl").write_text("\n".join(json.dumps({"messages": turns}) for _ in range(40)))
    word_tokenizer.save_pretrained(tmp_path / "FOLDER")
    (tmp_path / "runs/empty").mkdir(parents=True)
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def refused(overrides, compose, monkeypatch):
    """What the program answers before it trains anything: as `pipeline.run` does, the ranks only counted."""
    world = () if any(override.startswith("data=") for override in overrides) else WORLD
    try:
        cfg = compose(*world, *overrides)
        check_config(cfg)
        if cfg.trainer.num_nodes > 1:
            with processes(cfg, "alright", overrides):
                pass
        monkeypatch.setattr(stage_checks, "world_size", lambda: cfg.trainer.devices)
        check_stages(Stages(Settings.of(cfg), corpus_of(cfg)))
    except UserError as error:
        return str(error)
    raise AssertionError(f"{overrides} is not refused")


IN_PLACES_OF_THEIR_OWN = {
    "A launcher without a sweep", "Several values without a sweep",
    "λ with a strategy that has none",
}  # fmt: skip


@pytest.mark.parametrize(
    ("commands", "message"),
    [pytest.param(*pair, id=title) for title, *pair in PAIRS if title not in IN_PLACES_OF_THEIR_OWN],
)
def test_each_pair_is_refused_with_the_message_shown(commands, message, place, compose, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (command,) = commands
    told = refused(shlex.split(command)[3:], compose, monkeypatch)
    assert says(message, told), told


def test_no_pair_is_left_out():
    titles = {title for title, *_ in PAIRS}
    assert titles > IN_PLACES_OF_THEIR_OWN
    assert len(PAIRS) > 25


def the(title):
    ((commands, message),) = [pair for found, *pair in PAIRS if found == title]
    return [shlex.split(command)[3:] for command in commands], message


def test_a_launcher_without_a_sweep(capsys):
    _, message = the("A launcher without a sweep")
    node = yaml.safe_load((ROOT / "conf/hydra/launcher/slurm.yaml").read_text())
    with pytest.raises(SystemExit) as caught:
        CheckSweep().on_run_start(OmegaConf.create({"hydra": {"launcher": {"_target_": node["_target_"]}}}))
    assert caught.value.code == 2
    assert capsys.readouterr().err.strip() == message


def test_several_values_without_a_sweep():
    ((overrides,), message) = the("Several values without a sweep")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), pytest.raises(HydraException) as caught:
        GlobalHydra.instance().config_loader().load_configuration("config", overrides, RunMode.RUN)
    assert message in str(caught.value)


def test_another_lam_in_the_folder_of_a_strategy_without_one(compose, tmp_path):
    ((first, second), message) = the("λ with a strategy that has none")
    cfgs = [OmegaConf.to_container(compose(*overrides), resolve=True) for overrides in (first, second)]
    names = {cell_name(cfg, "sequential", overrides) for cfg, overrides in zip(cfgs, (first, second), strict=True)}
    assert len(names) == 1
    folder = RunFolder(tmp_path / names.pop())
    folder.begin(cfgs[0])
    with pytest.raises(UserError) as caught:
        folder.check_holds(cfgs[1])
    assert says(message, str(caught.value))


def test_a_model_that_cannot_be_packed_is_padded_and_said(family, caplog):
    (shown,) = [code.strip() for code in fences(DOCS / "conflicts.md", "text") if code.startswith("layout:")]
    model = family("gemma2", head_dim=8, num_key_value_heads=2)
    assert choose_layout(model, "packed") == "padded"
    assert says(shown, caplog.messages[-1])


def test_what_the_page_calls_without_effect_has_none(compose):
    names = [file.stem for file in (ROOT / "conf/strategy").glob("*.yaml")]
    left_open = {
        "only": ["strategy.objective=sft"],
        "blocks": ["strategy.steps={dpo: 3, sft: 4}"],
        "scheduled_mix": ["strategy.end={dpo: 0.9, sft: 0.1}"],
    }
    known = "optima={dpo: 0.1, sft: 1.0}"
    cfgs = {name: compose(f"strategy={name}", known, *left_open.get(name, [])) for name in names}
    weighed = {name for name, cfg in cfgs.items() if "weights" in cfg.strategy or "weights" in cfg.start}
    assert cfgs.keys() - weighed == {
        *("sequential", "sft", "dpo", "orpo", "only", "blocks", "constrained", "merge"),
    }  # fmt: skip
    schedules = {name: Schedule.of(build(cfg.strategy)) for name, cfg in cfgs.items()}
    looking = {
        name
        for name, schedule in schedules.items()
        if any(phase.rule.looks(step) for phase in schedule.phases for step in range(30))
    }
    assert looking == {"maxright", "stch", "group_dro", "constrained", "famo"}
    assert [name for name, schedule in schedules.items() if len(schedule.phases) > 1] == ["sequential"]
    few, many = (schedules["sequential"].steps(10, epochs) for epochs in (1, 9))
    assert few == many
    cfg = compose("model=hf", "model.path=x", "data.streams.sft.batch_tokens=512")
    assert batch_sizes(streams_of(cfg.data.streams))["sft"].tokens == 512
    assert cfg.model.init is None
    assert cfg.model.pretrain is None
