"""Who may import whom (the house's section 3), read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("collectors", "dashboard", "storage", "tokenwatt")


def imports(source: str, package: str) -> Iterator[str]:
    """Yield the modules that a source imports, wherever in it; relative ones from `package`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            yield from (part.split("{")[0] for part in _text(node.args[0]))


def _text(node: ast.expr) -> Iterator[str]:
    """Yield the module that `import_module` is given: whole, or the beginning of an f-string."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value.rstrip(".")


def within(module: str, *parents: str) -> bool:
    return any(module == parent or module.startswith(parent + ".") for parent in parents)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def breaches(module: str, imported: str) -> str:
    """Return the rule that an import breaks, or ""."""
    if not within(imported, *OURS):
        return ""
    if within(imported, "tokenwatt"):
        return "nothing imports tokenwatt"
    if within(module, "storage") and not within(imported, "storage"):
        return "storage knows nobody"
    if within(module, "collectors.simulator"):
        return "" if within(imported, "collectors.simulator") or imported == "collectors" else "the simulator is alone"
    if within(module, "collectors") and within(imported, "dashboard", "collectors.simulator"):
        return "collectors know storage alone"
    if within(module, "dashboard") and within(imported, "collectors"):
        return "the dashboard knows storage alone"
    pure = within(module, "dashboard.kpis", "dashboard.idle", "dashboard.figures")
    if pure and not within(imported, "storage.schema", *PURE) and imported not in ("storage", "dashboard"):
        return "kpis, idle and figures are pure: storage.schema only"
    return ""


#: what the pure modules may use of each other: they are one layer
PURE = ("dashboard.kpis", "dashboard.idle", "dashboard.figures")


def sources() -> list[Path]:
    found = [p for package in OURS[:3] for p in sorted((ROOT / package).rglob("*.py"))]
    return [*found, ROOT / "tokenwatt.py"]


def test_every_import_keeps_to_the_house_s_rules() -> None:
    broken = []
    for path in sources():
        module = module_name(path)
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        if module == "tokenwatt":
            continue
        for imported in imports(path.read_text("utf-8"), package):
            if rule := breaches(module, imported):
                broken.append(f"{module} imports {imported}: {rule}")
    assert broken == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("storage.writer", "import collectors.decode"),
        ("storage.writer", "def f():\n    from dashboard import app"),
        ("collectors.runtime", "from dashboard.app import x"),
        ("collectors.runtime", "import collectors.simulator.factory"),
        ("collectors.simulator.snmp", "from collectors.profile import Profile"),
        ("collectors.simulator.snmp", "from ..profile import Profile"),
        ("collectors.simulator.snmp", "from storage.point import Point"),
        ("dashboard.api", "from collectors.inventory import Inventory"),
        ("dashboard.api", "import_module('collectors.snmp.collector')"),
        ("dashboard.api", "importlib.import_module(f'collectors.{name}')"),
        ("dashboard.kpis.energy", "from storage.store import Store"),
        ("dashboard.idle", "from dashboard.snapshot import Snapshot"),
        ("dashboard.figures", "import storage.duckdb"),
        ("dashboard.app", "from tokenwatt import main"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert any(breaches(module, imported) for imported in imports(source, module.rpartition(".")[0]))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("storage.writer", "import storage.point"),
        ("collectors.runtime", "from storage.point import Point\nimport asyncio"),
        ("collectors.simulator.snmp", "from collectors.simulator.state import State"),
        ("collectors.simulator.snmp", "from .state import State"),
        ("dashboard.kpis.energy", "from storage.schema import MEASUREMENTS"),
        ("dashboard.kpis.energy", "import numpy as np"),
    ],
)
def test_what_is_allowed_is_no_breach(module: str, source: str) -> None:
    assert not any(breaches(module, imported) for imported in imports(source, module.rpartition(".")[0]))


def test_a_protocol_s_library_is_imported_by_its_own_modules_alone() -> None:
    """A collector that polls SNMP alone must not pay for gRPC."""
    owners = {"grpc": "gnmi", "gufo": "snmp", "aiomqtt": "mqtt", "pynvml": "nvml"}
    for path in sources():
        module = module_name(path)
        if not within(module, "collectors") or within(module, "collectors.simulator"):
            continue
        for imported in imports(path.read_text("utf-8"), "collectors"):
            owner = owners.get(imported.partition(".")[0])
            assert owner is None or within(module, f"collectors.{owner}"), f"{module} imports {imported}"


def test_what_all_protocols_share_loads_none_of_them() -> None:
    """`collectors/<protocol>/collector.py` is loaded by name, when a target or a profile names the protocol."""
    for path in sorted((ROOT / "collectors").glob("*.py")):
        loaded = {name for name in imports(path.read_text("utf-8"), "collectors") if name.endswith(".collector")}
        assert not loaded - {"collectors.collector"}, path.name


def test_data_is_never_imported() -> None:
    assert not list((ROOT / "config").rglob("*.py"))
    assert not list((ROOT / "collectors" / "profiles").rglob("*.py"))
