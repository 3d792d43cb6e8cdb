import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def test_configuration_is_in_the_wheel(tmp_path):
    """Installed away from the checkout, the command finds its conf/ and a stated override."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", str(ROOT), "--no-deps", "-w", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("xright-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "xright.run", "strategy=maxright", "lam=0.25", "--cfg", "job"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    shown = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True).stdout
    cfg = yaml.safe_load(shown)
    assert cfg["strategy"]["_target_"] == "xright.strategies.MAXRIGHT"
    assert cfg["lam"] == 0.25
    assert cfg["data"]["source"]["_target_"] == "xright.data.world.World"
    where = [sys.executable, "-c", "import xright.run; print(xright.run.CONF)"]
    conf = subprocess.run(where, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(conf.strip()) == tmp_path / "site" / "xright" / "conf"
    packaged = {path.relative_to(conf.strip()) for path in Path(conf.strip()).rglob("*.yaml")}
    assert packaged == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    package = Path(conf.strip()).parent
    assert list(package.rglob("*.j2"))  # the report's page
    assert (package / "py.typed").exists()
