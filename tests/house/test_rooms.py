"""The plan of the house, kept by a walk over the syntax trees: who may import whom, and purity below serving."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "segue"
FREE = {
    "events", "catalogue", "candidates", "filtering", "features", "ranking", "reranking", "evaluation", "experiments",
    "monitoring", "storage", "simulator", "privacy", "sound",
}  # fmt: skip
MAY: dict[str, set[str]] = {
    "core": set(),
    **{room: {"core"} for room in FREE},
    "training": {"core", "features", "evaluation"},
    "library": {"core", "sound"},
    "serving": {"core", "features", "experiments"},
    "web": {"core", "events", "serving", "experiments", "monitoring", "privacy"},
}
EVERYTHING = {"wiring", "cli", "benchmarks", "arena", "config", "__init__", "__main__"}
DRIVERS = {
    "sqlite3": {"storage"}, "pyarrow": {"storage", "events", "benchmarks", "cli"}, "starlette": {"web", "cli"},
    "uvicorn": {"cli", "web", "benchmarks"}, "rich": {"cli"}, "psycopg": {"storage"}, "valkey": {"storage"},
    "torch": {"candidates", "ranking", "sound"}, "onnx": {"sound", "ranking"}, "onnxruntime": {"sound", "ranking"},
    "av": {"sound", "benchmarks"}, "mutagen": {"sound"},
    "lightgbm": {"ranking"}, "pyspark": {"training"}, "implicit": {"benchmarks"}, "surprise": {"benchmarks"},
}  # fmt: skip
PURE = {"core", "candidates", "filtering", "features", "ranking", "reranking", "evaluation", "experiments", "sound"}
FORBIDDEN_CALLS = {
    "time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "os.getenv",
    "np.random.rand", "np.random.seed", "np.random.randint", "np.random.random", "random.random", "random.seed",
}  # fmt: skip
NEVER = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}


def files() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(SRC).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it from segue"
            base = node.module or ""
            names |= {base} | ({f"segue.{alias.name}" for alias in node.names} if base == "segue" else set())
    return names


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = room_of(path)
    if room in EVERYTHING:
        return
    assert room in MAY, f"a new room {room!r}: add it to the plan in docs/architecture.md and to this table"
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("segue.")} - {"__version__"}
    assert ours <= MAY[room] | {room}, f"{path} imports {sorted(ours - MAY[room] - {room})}"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_a_driver_stays_in_its_rooms_and_pickle_nowhere(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & NEVER, "arrays, Arrow, ONNX or text; never pickle"
    for driver in tops & DRIVERS.keys():
        assert room_of(path) in DRIVERS[driver], f"{driver} belongs in {sorted(DRIVERS[driver])}"


@pytest.mark.parametrize("path", [p for p in files() if room_of(p) in PURE], ids=lambda p: str(p.relative_to(SRC)))
def test_below_serving_nothing_reads_clock_environment_or_global_randomness(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            assert not text.startswith("os.environ"), f"{path}:{node.lineno} reads the environment"
            assert text not in FORBIDDEN_CALLS, f"{path}:{node.lineno} {text}: `now` is in the query, `rng` an argument"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_every_module_opens_with_a_sentence(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} does not say what it is"


def test_only_the_arena_the_command_line_and_benchmarks_know_the_simulator() -> None:
    knows = {room_of(p) for p in files() if any(name.startswith("segue.simulator") for name in imports(p))}
    assert knows <= {"simulator", "arena", "cli", "benchmarks"}


def test_wiring_knows_no_caller_and_each_of_its_files_stays_small() -> None:
    for path in (SRC / "wiring").glob("*.py"):
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("segue.")}
        assert not ours & {"simulator", "benchmarks", "cli"}, path
        assert path.read_text().count("\n") < 300, f"{path}: what builds another room is another file"


def test_no_ring_of_rooms() -> None:
    """An order of the rooms exists in which each imports only what comes before it."""
    needs: dict[str, set[str]] = {}
    for path in files():
        room = room_of(path)
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("segue.")}
        needs.setdefault(room, set()).update(ours - {room, "__version__"})
    while free := {room for room, of in needs.items() if not of & needs.keys()}:
        needs = {room: of for room, of in needs.items() if room not in free}
    assert not needs, f"rooms that import each other: {needs}"


LONGEST = 60
"""Lines of a function, its docstring included; most have fewer than 40."""


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_no_function_is_longer_than_a_page(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < LONGEST, f"{path}:{node.lineno} {node.name}: what are its parts called?"
