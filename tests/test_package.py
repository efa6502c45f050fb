"""The installed package holds what the source tree holds, and the README's commands are those of the CI."""

import json
import subprocess
import sys
from pathlib import Path

import torchmle

ROOT = Path(__file__).parents[1]
SET_UP = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/python -m torchmle"
TEST = 'python3 -m venv .venv && .venv/bin/pip install ".[test]" && .venv/bin/python -m pytest -q'

LIST_INSTALLED = """
import json
from importlib import resources

def walk(folder, prefix=""):
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            yield from walk(item, f"{prefix}{item.name}/")
        elif item.is_file():
            yield prefix + item.name

import torchmle
rows = {name: len(torchmle.datasets.load(name)) for name in torchmle.datasets.names()}
print(json.dumps({"files": sorted(walk(resources.files("torchmle"))), "rows": rows}))
"""


def test_the_tests_run_on_the_source_tree():
    assert Path(torchmle.__file__).parent == ROOT / "torchmle"


def test_the_installed_package_holds_every_file(tmp_path):
    command = [sys.executable, "-I", "-c", LIST_INSTALLED]  # -I: neither this folder nor PYTHONPATH is looked at
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"Install the package as it stands (pip install .): {done.stderr}"
    found = json.loads(done.stdout)
    source = [p.relative_to(ROOT / "torchmle") for p in (ROOT / "torchmle").rglob("*") if p.is_file()]
    wanted = sorted(p.as_posix() for p in source if "__pycache__" not in p.parts)
    assert [f for f in found["files"] if not f.endswith(".pyc")] == wanted
    assert {"py.typed", "data/datasets/catalogue.json", "data/datasets/mroz.csv.gz"} <= set(wanted)
    assert found["rows"] == {name: torchmle.datasets.describe(name).rows for name in torchmle.datasets.names()}


def test_the_readme_gives_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines.count(SET_UP) == 1
    assert lines.count(TEST) == 1
