"""The shape of the project: floors, sizes, imports without effects, nothing that names a machine."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
PACKAGE = SRC / "tubelet"
MODULES = sorted(PACKAGE.rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 350, 50

DISTRIBUTED = re.compile(r"torch\.distributed|from\s+torch\s+import\s[^\n]*\bdistributed\b")
# Written in two halves, so that this file does not contain what it looks for.
MACHINE_PATHS = ["/wo" + "rk/", "/far" + "m/", "/ro" + "ot/", "/home" + r"/\w+/", "/Users" + r"/\w+/"]
REGISTRY_HOSTS = ["pypi" + r"\.org", "python" + "hosted", r"registry" + r"\.npmjs", "deb" + r"\.debian\.org"]
REGISTRY_HOSTS += ["download" + r"\.pytorch", "conda" + r"\.anaconda"]
LOCAL = re.compile("|".join(MACHINE_PATHS + REGISTRY_HOSTS).encode())


def project_files() -> list[Path]:
    """Every file that is tracked or about to be."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is no list of tracked files")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in sorted(set(names.split("\0"))) if name]
    return [path for path in paths if path.is_file()]


def long_functions(source: str) -> list[str]:
    """Functions of more than FUNCTION_LINES lines, as 'name (lines)'; decorators do not count."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                found.append(f"{node.name} ({lines})")
    return found


def run_python(code: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter whose working folder and home are `folder`."""
    environment = os.environ | {"HOME": str(folder), "PYTHONPATH": str(SRC), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    command = [sys.executable, *flags, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def lint_imports(folder: Path, package_parent: Path) -> subprocess.CompletedProcess[str]:
    """import-linter with the project's contracts on the package below `package_parent`."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    command += ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(package_parent)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


# Floors


def test_imports_only_point_down(tmp_path):
    result = lint_imports(tmp_path, SRC)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("diffusion", "model"),
        ("text", "autoencoder"),
        ("data", "sampling"),
        ("training", "evaluation"),
        ("model", "sampling"),
        ("worlds", "data"),
        ("worlds", "diffusion"),
        ("sampling", "training"),
        ("gaussians", "diffusion"),
        ("video", "checkpoint"),
        ("errors", "shapes"),
        ("attic", "shapes"),
    ],
)
def test_the_contract_notices_an_import_that_does_not_point_down(tmp_path, importer, imported):
    package = tmp_path / "tubelet"
    for name in {"shapes", "errors", importer, imported}:
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").touch()
    assert importer == "attic" or lint_imports(tmp_path, tmp_path).returncode == 0
    (package / importer / "__init__.py").write_text(f"import tubelet.{imported}\n")
    result = lint_imports(tmp_path, tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout or "Missing layer" in result.stdout + result.stderr


def test_every_folder_with_code_is_a_package_that_the_contract_sees():
    bare = {path.parent for path in MODULES if not (path.parent / "__init__.py").exists()}
    assert not bare, f"add an __init__.py with a one-line docstring to {sorted(map(str, bare))}"


def test_only_parallel_speaks_to_other_processes():
    allowed = PACKAGE / "training" / "parallel.py"
    found = [path for path in MODULES if path != allowed and DISTRIBUTED.search(path.read_text("utf-8"))]
    assert not found, f"only training/parallel.py may mention torch.distributed, not {found}"


@pytest.mark.parametrize(
    "line",
    ["import torch.distributed as dist", "from torch import nn, distributed", "torch.distributed.init()"],
)
def test_the_search_for_other_processes_knows_every_spelling(line):
    assert DISTRIBUTED.search(f"import torch\n{line}\n")


# Sizes


def test_no_file_is_longer_than_one_sitting():
    sizes = {
        path: len(path.read_text("utf-8").splitlines()) for path in project_files() if path.suffix == ".py"
    }
    assert PACKAGE / "__init__.py" in sizes
    long = {str(path.relative_to(ROOT)): lines for path, lines in sizes.items() if lines > FILE_LINES}
    assert not long, f"split at {FILE_LINES} lines: {long}"


def test_no_function_is_longer_than_one_screen():
    code = [path for path in project_files() if path.suffix == ".py"]
    long = {str(path.relative_to(ROOT)): long_functions(path.read_text("utf-8")) for path in code}
    long = {name: functions for name, functions in long.items() if functions}
    assert not long, f"split at {FUNCTION_LINES} lines: {long}"


@pytest.mark.parametrize(
    "head", ["def f():", "async def f():", "class A:\n  def f(self):", "@cache\ndef f():"]
)
def test_the_ruler_measures_a_function_to_the_line(head):
    fits = head + "\n   pass" * (FUNCTION_LINES - 1)
    assert long_functions(fits) == []
    assert long_functions(fits + "\n   pass") == [f"f ({FUNCTION_LINES + 1})"]


# Importing


def test_importing_the_package_does_not_import_torch(tmp_path):
    result = run_python("import sys, tubelet; sys.exit('torch' in sys.modules)", tmp_path)
    assert result.returncode == 0, result.stderr or "import tubelet has imported torch"


def test_help_answers_before_torch_is_loaded(tmp_path):
    code = "import runpy, sys; sys.argv[1:] = ['--help']; runpy.run_module('tubelet', run_name='__main__')"
    result = run_python(code, tmp_path, "-X", "importtime")
    assert result.returncode == 0, result.stderr[-2000:]
    assert "generate" in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "tubelet.cli" in imported
    assert "torch" not in imported


# Files written are looked for by the test; what a process can change in itself is compared in the process.
IMPORT_EVERYTHING = """
import importlib, logging, os, pkgutil, random, signal, sys, warnings
import numpy, torch
import tubelet

def state():
    return {
        "python's seed": random.getstate(),
        "numpy's seed": str(numpy.random.get_state()),
        "torch's seed": torch.get_rng_state().tolist(),
        "torch's threads": torch.get_num_threads(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's gradients": torch.is_grad_enabled(),
        "environment": dict(os.environ),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "interrupt": signal.getsignal(signal.SIGINT),
        "folder": os.getcwd(),
    }

before = state()
names = [found.name for found in pkgutil.walk_packages(tubelet.__path__, "tubelet.")]
assert "tubelet.shapes" in names and "tubelet.cli" in names, names
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, f"importing changed {changed}"
"""


def test_importing_leaves_no_trace(tmp_path):
    result = run_python(IMPORT_EVERYTHING, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "" and result.stderr == ""
    assert not list(tmp_path.iterdir())


def test_the_public_names_are_there_and_others_are_not():
    import tubelet

    for name in tubelet.__all__:
        assert getattr(tubelet, name) is not None
        assert name in dir(tubelet)
    with pytest.raises(AttributeError, match="VideoPipelin"):
        tubelet.VideoPipelin  # noqa: B018


# Words


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), "the module has no docstring"


def test_no_file_names_a_machine_or_a_registry():
    found = {}
    for path in project_files():
        if match := LOCAL.search(path.read_bytes()):
            found[str(path.relative_to(ROOT))] = match[0].decode()
    assert not found, f"take these out: {found}"


@pytest.mark.parametrize(
    "text",
    ["see /wo" + "rk/main", "/home" + "/ann/clips", "https://py" + "pi.org/simple", "/ro" + "ot/.cache"],
)
def test_the_search_for_machines_finds_one(text):
    assert LOCAL.search(f"a line\n{text}\n".encode())


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_without_a_target_says_what_there_is():
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ["demo", "test", "slow", "lint", "types", "contracts", "check"]:
        assert f"make {target} " in result.stdout
