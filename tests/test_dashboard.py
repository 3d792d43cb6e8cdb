"""`python -m xright.dashboard`: printed where no key is known; else written by W&B's own client, here to a server that
takes down what it is sent."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from xright.dashboard import VIEW, describe, main, plan
from xright.tracking.keys import LOGGED, STEP, TABLES

UNITS = {"dpo": "nats per pair", "sft": "nats per token", "safety": "nats per pair"}


def command(*arguments, home, **environment):
    """The command in a home without settings of anybody's."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    return subprocess.run(
        [sys.executable, "-m", "xright.dashboard", *arguments],
        env=clean | {"HOME": str(home), "WANDB_DIR": str(home), "OMP_NUM_THREADS": "1"} | environment,
        cwd=home, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


def finished(variables):
    """The summary of a run of three objectives, and one that is trained in their place."""
    objectives = {name: {"unit": unit, "surrogate": False} for name, unit in UNITS.items()}
    return {"objectives": objectives | {"orpo": {"unit": "nats per pair", "surrogate": True}}}


def project(variables, summary):
    """W&B's answer to a question for runs, and to one for all of a run."""
    node = {
        "id": "1", "projectId": "1", "name": "abc", "displayName": "run", "state": "finished", "readOnly": True,
        "tags": [], "createdAt": "2026-01-01T00:00:00Z", "config": "{}", "summaryMetrics": json.dumps(summary),
        "systemMetrics": "{}", "user": {"name": "me", "username": "me"}, "historyLineCount": 1,
    }  # fmt: skip
    page = {"edges": [{"node": node, "cursor": "1"}], "pageInfo": {"endCursor": "1", "hasNextPage": False}}
    return {"internalId": "1", "runCount": 1, "readOnly": True, "runs": page, "run": node}


@pytest.fixture
def wandb_server():
    """(address, [variables of each view that was written]): as much of W&B as its client asks for."""
    written = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(asked["query"], asked.get("variables") or {})

        def answer(self, query, variables):
            viewer = {"id": "1", "username": "me", "entity": "me", "flags": "{}", "teams": {"edges": []}}
            data = {"viewer": viewer, "serverInfo": {"cliVersionInfo": {}, "latestLocalVersionInfo": None}}
            answer = {"data": data}
            if re.search(r"query Runs?\b", query):
                empty = variables["project"] == "empty"
                data["project"] = project(variables, {} if empty else finished(variables))
            if "upsertView" in query and variables["projectName"] == "locked":
                answer = {"data": None, "errors": [{"message": "not allowed"}]}
            elif "upsertView" in query:
                written.append(variables)
                view = {"id": "Vmlldzox", "name": variables["name"]}
                answer = {"data": {"upsertView": {"view": view, "inserted": True}}}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", written
    server.shutdown()
    server.server_close()


def test_it_holds_a_panel_for_every_key_with_its_unit():
    panels = [panel for section in plan({}).values() for panel in section]
    lines = {panel.keys[0]: panel.title for panel in panels if panel.kind == "line"}
    assert lines == {key: f"{key} ({unit})" for key, unit in LOGGED.items()}
    tables = {panel.keys[0] for panel in panels if panel.kind == "table"}
    assert tables == TABLES.keys() - {"trajectory_table"}  # which is a chart of two objectives


def test_where_the_objectives_are_known_each_has_its_panels():
    panels = [panel for section in plan(UNITS).values() for panel in section]
    lines = {panel.keys[0]: panel.title for panel in panels if panel.kind == "line"}
    assert not [key for key in lines if "<" in key]
    for name, unit in UNITS.items():
        for group in ("gap", "val", "train"):
            assert lines[f"{group}/{name}"] == f"{group}/{name} ({unit})"
    pairs = [("f_dpo", "f_sft"), ("f_dpo", "f_safety"), ("f_sft", "f_safety")]
    assert [panel.keys for panel in panels if panel.kind == "scatter"] == pairs


def test_without_a_key_it_says_what_it_would_make(tmp_path):
    done = command("me/study", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "No key" in done.stdout
    assert "me/study" in done.stdout
    assert done.stdout.rstrip().endswith(describe(plan({})))


@pytest.mark.parametrize("project", ["", "a/b/c", "/study", "me/"])
def test_a_project_that_is_none(project, capsys):
    assert main([project]) == 2
    must = "must be a W&B project, as `project` or `entity/project`."
    assert capsys.readouterr().err == f"xright: PROJECT={project!r} {must}\n"


def test_with_a_key_it_writes_the_view(tmp_path, wandb_server):
    pytest.importorskip("wandb_workspaces", reason="pip install 'xright[dashboard]'")
    address, written = wandb_server
    done = command("study", home=tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40)
    assert done.returncode == 0, done.stderr
    (view,) = written
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("me", "study", VIEW)
    assert "study" in done.stdout.splitlines()[-1]
    sections = json.loads(view["spec"])["section"]["panelBankConfig"]["sections"]
    planned = plan(UNITS)
    assert {s["name"]: len(s["panels"]) for s in sections} == {name: len(panels) for name, panels in planned.items()}
    lines = [panel["config"] for section in sections for panel in section["panels"] if "xAxis" in panel["config"]]
    drawn = {(line["metrics"] or [line["metricRegex"]])[0] for line in lines if line["xAxis"] == STEP}
    assert {"gap/safety", "val/dpo", "train/sft", "behaviour/.*", "val/.*rewards/margins"} <= drawn
    assert len(drawn) == len([panel for panels in planned.values() for panel in panels if panel.kind == "line"])
    charts = [panel["config"] for section in sections for panel in section["panels"] if panel["viewType"] == "Vega2"]
    assert {panel["panelDefId"] for panel in charts} == {"wandb/scatter/v0"}
    assert charts[0]["fieldSettings"] == {"x": "f_dpo", "y": "f_sft"}


def test_before_a_run_is_finished_a_panel_holds_all_objectives(tmp_path, wandb_server):
    pytest.importorskip("wandb_workspaces", reason="pip install 'xright[dashboard]'")
    address, written = wandb_server
    done = command("empty", home=tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40)
    assert done.returncode == 0, done.stderr
    (view,) = written
    assert "gap/[^/]+" in view["spec"]


def test_what_the_server_refuses_is_a_sentence(tmp_path, wandb_server):
    pytest.importorskip("wandb_workspaces", reason="pip install 'xright[dashboard]'")
    address, written = wandb_server
    refused = command("me/locked", home=tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40)
    assert refused.returncode == 2
    assert written == []
    assert "Traceback" not in refused.stderr
    assert "W&B took no dashboard for me/locked (" in refused.stderr
    assert "not allowed" in refused.stderr
