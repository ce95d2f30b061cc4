"""The house: which room may import which, how long files and functions are, what stays private."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
MOST_LINES = 450  # of a file
MOST_LINES_OF_A_FUNCTION = 60

FLOORS = (
    ("errors",),
    ("config", "legacy_keras", "metrics"),
    ("memory", "work"),
    ("losses", "layers", "files"),
    ("coding", "zoo"),
    ("model",),
    ("codec", "portable", "originals"),
    ("export", "training"),
    ("cli", "serve", "beam", "pillow_plugin", "desktop"),
)
"""Rooms of the package from the ground up; a room imports its own floor's neighbours at most."""

NAMED_TUPLE = (
    "_replace",
    "_fields",
    "_asdict",
    "_make",
    "_exit",
)  # public, in spite of the underscore


def sources():
    """Every Python file of the repository."""
    found = []
    for place in ("gllmm_tf", "experiments", "tests"):
        found += (ROOT / place).rglob("*.py")
    return sorted([*found, *ROOT.glob("*.py")])


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text())


def name_of(path):
    return str(path.relative_to(ROOT))


def room_of(module):
    """gllmm_tf.codec.tiling -> codec; None for what is no room."""
    parts = module.split(".")
    return parts[1] if parts[0] == "gllmm_tf" and len(parts) > 1 else None


def imported_modules(tree):
    """Dotted names of all modules that a file imports, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            if any(is_private(getattr(a, "value", "")) for a in node.args[1:2]):
                yield f"line {node.lineno}: {ast.unparse(node.args[1])}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "gllmm_tf":
                yield from (f"gllmm_tf.{alias.name}" for alias in node.names)
            else:
                yield node.module


def long_functions(tree):
    """(name, lines) of the functions that are too long."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                yield node.name, lines


def private_accesses(tree):
    """What a file takes of others that has a private name: `other._x`, `from m import _x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not is_own(node.value):
            yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            if any(is_private(getattr(a, "value", "")) for a in node.args[1:2]):
                yield f"line {node.lineno}: {ast.unparse(node.args[1])}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gllmm_tf"):
            for alias in node.names:
                if is_private(alias.name):
                    yield f"line {node.lineno}: {node.module}.{alias.name}"


def is_private(name):
    return (
        isinstance(name, str)
        and name.startswith("_")
        and not name.startswith("__")
        and name not in NAMED_TUPLE
    )


def is_own(value):
    """Whether an attribute is taken of self, cls or super()."""
    if isinstance(value, ast.Name):
        return value.id in ("self", "cls")
    return isinstance(value, ast.Call) and getattr(value.func, "id", "") == "super"


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES
    assert list(long_functions(tree_of(path))) == []


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_private_names_stay_private(path):
    assert list(private_accesses(tree_of(path))) == []


def test_lower_rooms_import_no_upper_ones():
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    climbs = []
    for path in sorted((ROOT / "gllmm_tf").rglob("*.py")):
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if room == "__init__":  # the lazy names of the top level
            continue
        for module in imported_modules(tree_of(path)):
            other = room_of(module)
            if other and other != room and floor_of.get(other, -1) > floor_of[room]:
                climbs.append(f"{name_of(path)} imports {module}")
    assert climbs == []


def test_each_room_of_the_package_has_a_floor():
    listed = {room for rooms in FLOORS for room in rooms}
    there = {p.stem for p in (ROOT / "gllmm_tf").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert {name for name in there if not name.startswith("__")} <= listed


@pytest.mark.parametrize(
    "code, found",
    [
        ("other._x", ["line 1: other._x"]),
        ("a.b()._x.y", ["line 1: a.b()._x"]),
        ("from gllmm_tf.codec import _x", ["line 1: gllmm_tf.codec._x"]),
        ("self._x; cls._x; super()._x; row._replace(a=1); x.__class__", []),
        ("self.other._x", ["line 1: self.other._x"]),
        ("monkeypatch.setattr(other, '_x', 1)", ["line 1: '_x'"]),
        ("monkeypatch.setattr(other, 'x', 1); monkeypatch.setattr(other, name, 1)", []),
    ],
)
def test_private_accesses_are_found(code, found):
    assert list(private_accesses(ast.parse(code))) == found


def test_long_functions_are_found():
    body = "\n".join(["    x = 1"] * MOST_LINES_OF_A_FUNCTION)
    assert list(long_functions(ast.parse(f"def f():\n{body}"))) == [("f", 61)]
