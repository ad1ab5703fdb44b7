"""The house rules that no linter knows: floors, fences, circles, `__all__`, docstrings.

Every rule is a pure function from sources (module name -> text) to complaints. It is tried on the package, and on
made-up sources that break it. Imports inside functions and under TYPE_CHECKING count like any other.
"""

import ast
import graphlib
import itertools
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = (
    ("errors", "weights"),
    ("ops",),
    ("config", "runtime", "metrics"),
    ("video", "model", "losses", "report"),
    ("data", "web"),
    ("checkpoint",),
    ("infer", "peers", "engines"),
    ("catalogue",),
    ("upscale", "train", "evaluate", "compare"),
    ("face",),
    ("ablate", "batch", "bench", "cluster", "demo", "doctor", "figures", "preview"),
    ("cli",),
    ("__init__", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

HOMES = {
    "av": "video",
    "cv2": None,  # optional everywhere, but only inside a function
    "gradio": "web",
    "lightning_fabric": "train",
    "matplotlib": "report",
    "ncnn": "peers",
    "onnx": "engines",
    "onnxruntime": "engines",
    "openvino": "engines",
    "ray": "cluster",
    "rich": "cli",
    "typer": "cli",
}
"""Third-party packages that live in one room."""

WALLS = (("infer", "stinet.model"), ("video", "torch.nn"), ("video", "stinet.model"), ("video", "stinet.catalogue"))
"""A room, and what it must never import although its floor would allow it."""

DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "cv2": "opencv-python-headless"}
"""Import names that differ from the name in pyproject.toml."""

Sources = Mapping[str, str]


def test_the_floors_hold() -> None:
    assert floor_complaints(package()) == []


def test_no_module_imports_itself_in_a_circle() -> None:
    assert circle_complaints(package()) == []


def test_third_party_packages_stay_in_their_rooms() -> None:
    assert fence_complaints(package()) == []


def test_only_runtime_reads_the_environment() -> None:
    assert environment_complaints(package()) == []


def test_only_stinet_py_reads_the_model_config_inside_model() -> None:
    assert config_complaints(package()) == []


def test_every_third_party_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", line, maxsplit=1)[0].lower() for line in project["dependencies"]}
    assert declaration_complaints(package(), declared) == []


def test_every_module_says_what_it_is() -> None:
    assert docstring_complaints(package()) == []


def test_every_all_is_sorted_and_true() -> None:
    assert all_complaints(package()) == []


def test_annotations_are_evaluated_everywhere() -> None:
    assert future_complaints({**package(), **suite()}) == []


def test_no_two_test_files_share_a_name() -> None:
    # pytest imports them by their bare names
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, following in itertools.pairwise(names) if name == following] == []


def test_the_repository_knows_no_folder_outside() -> None:
    files = [path for folder in ("src", "tests", "recipes", "docs") for path in sorted((ROOT / folder).rglob("*"))]
    texts = [path for path in files if path.suffix in {".py", ".md", ".yaml", ".toml", ".json", ".txt"}]
    assert outside_complaints({str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in texts}) == []


def test_the_public_face_is_sorted_and_true() -> None:
    import stinet

    assert stinet.__all__ == sorted(stinet.__all__, key=isort_key)
    assert [name for name in stinet.__all__ if not hasattr(stinet, name)] == []
    assert set(stinet.__all__) <= set(dir(stinet))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = stinet.no_such_name  # pyright: ignore[reportAttributeAccessIssue]


def test_the_tree_in_the_readme_lists_every_module() -> None:
    assert tree_complaints(package(), (ROOT / "README.md").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("line", [
    "import stinet.model.blocks",
    "from stinet.model import blocks",
    "from stinet import STINet",
    "def late():\n    from stinet.cli import app",
    "from ..cli import app",
])  # fmt: skip
def test_an_import_from_above_is_seen(line: str) -> None:
    sources = {"stinet.cli": "", "stinet.model.blocks": "", "stinet.ops.warp": line}
    assert len(floor_complaints(sources)) == 1


def test_an_import_from_a_neighbour_on_the_same_floor_is_seen() -> None:
    assert floor_complaints({"stinet.metrics": "from stinet.config import Times", "stinet.config": ""})
    assert floor_complaints({"stinet.video.read": "import stinet.losses", "stinet.losses": ""})


def test_imports_from_below_and_from_the_own_folder_are_allowed() -> None:
    below = {"stinet.errors": "", "stinet.ops.warp": "from stinet.errors import ConfigError"}
    own = {"stinet.ops.a": "from stinet.ops import b\nfrom . import b\nimport torch", "stinet.ops.b": ""}
    assert floor_complaints({**below, **own}) == []


def test_a_room_without_a_floor_is_seen() -> None:
    assert floor_complaints({"stinet.helpers": ""}) == ["stinet.helpers stands on no floor"]


def test_a_circle_is_seen() -> None:
    circle = {"stinet.ops.a": "import stinet.ops.b", "stinet.ops.b": "def f():\n    from stinet.ops import a"}
    assert len(circle_complaints(circle)) == 1
    assert circle_complaints({"stinet.ops.a": "import stinet.ops.b", "stinet.ops.b": ""}) == []


@pytest.mark.parametrize(("module", "line"), [
    ("stinet.data.corpus", "import av"),
    ("stinet.evaluate", "def f():\n    from matplotlib import pyplot"),
    ("stinet.train", "from rich.progress import Progress"),
    ("stinet.ops.farneback", "import cv2"),
    ("stinet.infer.clips", "from stinet.model.stinet import STINet"),
    ("stinet.video.read", "from torch import nn"),
    ("stinet.video.read", "import torch.nn.functional"),
])  # fmt: skip
def test_a_broken_fence_is_seen(module: str, line: str) -> None:
    assert len(fence_complaints({"stinet.model.stinet": "", module: line})) == 1


def test_an_optional_package_inside_a_function_is_allowed() -> None:
    assert fence_complaints({"stinet.peers.flow": "def f():\n    import cv2"}) == []


@pytest.mark.parametrize("line", ["os.environ['X']", "os.getenv('X')", "from os import environ", "os.environb"])
def test_a_look_at_the_environment_is_seen(line: str) -> None:
    assert environment_complaints({"stinet.ops.warp": f"import os\n{line}"})
    assert environment_complaints({"stinet.runtime": f"import os\n{line}"}) == []


def test_a_block_that_reads_the_model_config_is_seen() -> None:
    line = "from stinet.config import ModelConfig"
    assert config_complaints({"stinet.model.blocks": line, "stinet.config": ""})
    assert config_complaints({"stinet.model.stinet": line, "stinet.config": ""}) == []


def test_an_undeclared_dependency_is_seen() -> None:
    assert declaration_complaints({"stinet.ops.a": "import os\nimport scipy.signal"}, {"torch"})
    assert declaration_complaints({"stinet.ops.a": "import os\nimport PIL"}, {"pillow"}) == []


def test_a_module_without_docstring_is_seen() -> None:
    assert docstring_complaints({"stinet.ops.a": "x = 1"})
    assert docstring_complaints({"stinet.ops.a": '"""What it is."""', "stinet.ops.__init__": ""}) == []


@pytest.mark.parametrize("text", [
    "__all__ = ['b', 'a']\ndef a(): ...\ndef b(): ...",
    "__all__ = ['a', 'gone']\ndef a(): ...",
    "__all__ = ['a']\ndef a(): ...\nclass Forgotten: ...",
    "def a(): ...",
])  # fmt: skip
def test_an_all_that_lies_is_seen(text: str) -> None:
    assert len(all_complaints({"stinet.ops.a": text})) == 1


def test_an_honest_all_is_allowed() -> None:
    long = "__all__ = ['LIMIT', 'Frame', 'warp']\nLIMIT: int = 3\nclass Frame: ...\ndef warp(): ...\ndef _inner(): ..."
    short = "__all__ = ['X']\nX = int"
    assert all_complaints({"stinet.ops.a": long, "stinet.ops.b": short, "stinet.ops.c": "_private = 1"}) == []


def test_postponed_annotations_are_seen() -> None:
    assert future_complaints({"stinet.ops.a": "from " + "__future__ import annotations"})


@pytest.mark.parametrize("text", ["see " + "/wo" + "rk/data", "open('../sha" + "red/corpus')"])
def test_a_path_outside_is_seen(text: str) -> None:
    assert outside_complaints({"stinet.ops.a": text})
    assert outside_complaints({"stinet.ops.a": "the weights are shared / work on both"}) == []


def test_a_module_that_the_tree_lacks_or_invents_is_seen() -> None:
    tree = "    src/stinet/\n      cli.py  commands\n      ops/\n        warp.py  warp\n"
    sources = {"stinet.cli": "", "stinet.ops.__init__": "", "stinet.ops.warp": ""}
    assert tree_complaints(sources, tree) == []
    assert tree_complaints({**sources, "stinet.ops.new": ""}, tree) == ["README.md lacks ops/new.py"]
    assert tree_complaints({"stinet.cli": "", "stinet.ops.__init__": ""}, tree) == ["README.md invents ops/warp.py"]


def package() -> Sources:
    """Every module of the package by its dotted name; a folder's own file is `folder.__init__`."""
    source = ROOT / "src"
    files = sorted((source / "stinet").rglob("*.py"))
    return {".".join(p.relative_to(source).with_suffix("").parts): p.read_text(encoding="utf-8") for p in files}


def suite() -> Sources:
    """Every test file, by its path."""
    return {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in sorted((ROOT / "tests").rglob("*.py"))}


def floor_complaints(sources: Sources) -> list[str]:
    """Imports that do not go down, or stay in the own room."""
    lost = [f"{module} stands on no floor" for module in sources if room(module) not in FLOOR]
    return lost + [
        f"{module} imports {other}"
        for module, other in edges(sources)
        if room(module) in FLOOR and room(module) != room(other) and FLOOR[room(other)] >= FLOOR[room(module)]
    ]


def circle_complaints(sources: Sources) -> list[str]:
    """One circle of imports, if there is any."""
    graph: dict[str, set[str]] = {}
    for module, other in edges(sources):
        graph.setdefault(module, set()).add(other)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def fence_complaints(sources: Sources) -> list[str]:
    """Third-party packages outside their room, optional ones outside a function, rooms that look behind a wall."""
    found = []
    for module, text in sources.items():
        for name, is_late in imports(module, text):
            package_name = name.split(".")[0]
            home = HOMES.get(package_name, room(module))
            if home != room(module) and not (home is None and is_late):
                found.append(f"{module} imports {name}")
            hidden = [wall for who, wall in WALLS if who == room(module)]
            if any(f"{name}.".startswith(f"{wall}.") for wall in hidden):
                found.append(f"{module} imports {name}")
    return sorted(set(found))


def environment_complaints(sources: Sources) -> list[str]:
    """Readers of the environment other than `runtime`."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv"}
    return [
        f"{module} uses os.{name}"
        for module, text in sources.items()
        if room(module) != "runtime"
        for node in ast.walk(ast.parse(text))
        for name in names
        if (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and any(a.name == name for a in node.names))
    ]


def config_complaints(sources: Sources) -> list[str]:
    """Files of `model` other than `stinet.py` that read `ModelConfig`."""
    return [
        f"{module} reads ModelConfig"
        for module, text in sources.items()
        if room(module) == "model" and module != "stinet.model.stinet"
        if ("stinet.config.ModelConfig", False) in set(imports(module, text))
    ]


def declaration_complaints(sources: Sources, declared: set[str]) -> list[str]:
    """Third-party imports that pyproject.toml does not name; fenced optional ones are looked after by the fences."""
    optional = {"cv2", "gradio", "lightning_fabric", "ncnn", "onnx", "onnxruntime", "openvino", "ray"}
    known = declared | set(sys.stdlib_module_names) | {"stinet"} | optional
    return [
        f"{module} imports {name}, which pyproject.toml does not name"
        for module, text in sources.items()
        for name in {name.split(".")[0] for name, _ in imports(module, text)}
        if not {name, DISTRIBUTIONS.get(name, name)} & known
    ]


def docstring_complaints(sources: Sources) -> list[str]:
    """Modules that do not say what they are; an empty `__init__` may be silent."""
    return [m for m, text in sources.items() if text.strip() and not ast.get_docstring(ast.parse(text))]


def all_complaints(sources: Sources) -> list[str]:
    """`__all__` that is missing, unsorted, names what is not there, or omits a public function or class."""
    found = []
    for module, text in sources.items():
        if module.endswith(("__init__", "__main__")):
            continue
        tree = ast.parse(text)
        assigned = dict(assignments(tree))
        listed = assigned.get("__all__") and ast.literal_eval(assigned["__all__"])
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        public = {name for name in defined if not name.startswith("_")}
        present = defined | set(assigned)
        if listed is None:
            found += [f"{module} has no __all__"] if public else []
        elif gone := set(listed) - present:
            found.append(f"{module}.__all__ names {sorted(gone)}, which it does not define")
        elif hidden := public - set(listed):
            found.append(f"{module}.__all__ omits {sorted(hidden)}")
        elif list(listed) != sorted(listed, key=isort_key):
            found.append(f"{module}.__all__ is not sorted")
    return found


def future_complaints(sources: Sources) -> list[str]:
    """Files whose annotations would be strings: shapes could not be checked."""
    pattern = re.compile(r"^from __future__ import .*annotations", re.MULTILINE)
    return [module for module, text in sources.items() if pattern.search(text)]


def outside_complaints(sources: Sources) -> list[str]:
    """Files that name a folder outside the repository."""
    pattern = re.compile("/wo" + r"rk/|\bsha" + "red/")
    return [f"{name}: {match}" for name, text in sources.items() for match in pattern.findall(text)]


def tree_complaints(sources: Sources, readme: str) -> list[str]:
    """Modules that the tree of the README lacks, and files in it that are no module."""
    listed, folder = set(), ""
    for indent, name in re.findall(
        r"^    ( {2}| {4})([\w.]+/?)(?=\s)", readme.partition("src/stinet/\n")[2], re.MULTILINE
    ):
        if name.endswith("/"):
            folder = name
        elif name.endswith(".py"):
            listed.add(name if indent == "  " else folder + name)
    paths = {"/".join(module.split(".")[1:]) + ".py" for module in sources}
    due = {path for path in paths if not path.endswith("/__init__.py")}
    lacking = [f"README.md lacks {path}" for path in sorted(due - listed)]
    return lacking + [f"README.md invents {path}" for path in sorted(listed - due)]


def room(module: str) -> str:
    """The part of the house that a module belongs to: `stinet.ops.warp` -> `ops`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def isort_key(name: str) -> tuple[int, str]:
    """The order of ruff's RUF022: CONSTANTS, Classes, functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names that a module assigns at its top level, with their values."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def edges(sources: Sources) -> list[tuple[str, str]]:
    """Pairs (module, module of the package that it imports)."""
    found = set()
    for module, text in sources.items():
        for name, _ in imports(module, text):
            if name.split(".")[0] == "stinet" and (target := resolve(name, sources)) != module:
                found.add((module, target))
    return sorted(found)


def resolve(name: str, sources: Sources) -> str:
    """The module that a dotted name stands in: `stinet.ops.warp.warp` -> `stinet.ops.warp`."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in sources:
            return prefix
        if length > 1 and f"{prefix}.__init__" in sources:
            return f"{prefix}.__init__"
    return "stinet.__init__"


def imports(module: str, text: str) -> Iterator[tuple[str, bool]]:
    """Dotted names that a source imports (`from a import b` gives `a.b`), and whether only inside a function."""
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{start}.{alias.name}", id(node) in late) for alias in node.names)
