"""The two rules of the house: pure rooms touch nothing, and a wing knows no other wing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker
from tests.cli import environment

PACKAGE = Path(worker.__file__).parent
WINGS = ("worker.kafka", "worker.images", "worker.models")
IMPURE = {"confluent_kafka", "torch", "asyncio", "time", "datetime", "socket", "threading", "aiohttp", "random", "os"}
PURE = {"worker.kafka.ledger", "worker.images.guard", "worker.models.batch", "worker.policy"}
KNOW_SEVERAL_WINGS = (
    "worker.app",
    "worker.opening",
    "worker.chain",
    "worker.pipeline",
    "worker.settings",
    "worker.check",
    "worker.local",
)
FOLDERS_THAT_DO = ("worker.cli.", "worker.demo.", "worker.trial.", "worker.replay.")


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str, source: str, *, at_run_time: bool = False) -> set[str]:
    """The full names that a module imports, in functions too, relative ones resolved.

    `at_run_time` leaves out what is below `if TYPE_CHECKING`.
    """
    found: set[str] = set()
    for node in _nodes(ast.parse(source), at_run_time):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(module.split(".")[: -node.level]) if node.level else ""
            base = ".".join(filter(None, [above, node.module]))
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def _nodes(node: ast.AST, at_run_time: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if at_run_time and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _nodes(child, at_run_time)


def impurities(module: str, source: str) -> set[str]:
    """What a pure room imports and must not, with what the rooms it imports bring in."""
    found: set[str] = set()
    todo, seen = [(module, source)], {module}
    while todo:
        names = imports(*todo.pop(), at_run_time=True)
        found |= {name.split(".")[0] for name in names} & IMPURE
        for name in (names & MODULES.keys()) - seen:
            seen.add(name)
            todo.append((name, MODULES[name]))
    return found


def wings(module: str, source: str) -> set[str]:
    """The wings that a module knows, its own among them."""
    names = imports(module, source) | {module}
    return {wing for wing in WINGS for name in names if name == wing or name.startswith(f"{wing}.")}


def may_know_several(module: str) -> bool:
    return module in KNOW_SEVERAL_WINGS or module.startswith(FOLDERS_THAT_DO)


CLAIM_PURITY = sorted(
    name for name, source in MODULES.items() if "PURE" in (ast.get_docstring(ast.parse(source)) or "")
)


def test_the_rooms_that_must_be_pure_say_so() -> None:
    assert set(CLAIM_PURITY) >= PURE


@pytest.mark.parametrize("module", CLAIM_PURITY)
def test_a_pure_room_imports_no_kafka_torch_clock_or_socket(module: str) -> None:
    assert impurities(module, MODULES[module]) == set()


@pytest.mark.parametrize("module", [name for name in MODULES if not may_know_several(name)])
def test_a_module_knows_one_wing_at_most(module: str) -> None:
    assert len(wings(module, MODULES[module])) <= 1


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from time import monotonic",
        "import asyncio.events as e",
        "def f():\n    import torch",
        "from worker.kafka import source",
        "from . import source",
        "from .source import Source",
    ],
)
def test_an_impure_import_is_seen(source: str) -> None:
    assert impurities("worker.kafka.new", source)


@pytest.mark.parametrize(
    "source",
    [
        "from worker.kafka.ledger import Ledger",
        "from worker import kafka",
        "import worker.kafka.sink",
        "def f():\n    from ..kafka import sink",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from worker.kafka.sink import Sink",
    ],
)
def test_an_import_of_another_wing_is_seen(source: str) -> None:
    assert wings("worker.images.new", source) == {"worker.images", "worker.kafka"}


def test_what_is_only_for_the_type_checker_makes_no_room_impure() -> None:
    assert impurities("worker.new", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch") == set()


def test_the_command_line_the_settings_and_the_kafka_wing_import_no_model_library_nor_the_registrys_client() -> None:
    light = [name for name in MODULES if name in ("worker.cli", "worker.settings") or name.startswith("worker.kafka.")]
    heavy = {"torch", "transformers", "confluent_kafka.schema_registry"}
    program = f"import sys, {', '.join(light)}\nprint(*{heavy} & sys.modules.keys())"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment(), timeout=60, check=True
    )
    assert process.stdout.split() == []
