"""The arrows between modules (docs: stages never import one another) and the size budgets."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hdrvideo"
FILES = sorted(PACKAGE.rglob("*.py"))
STAGES = ("clip", "crop", "frame", "motion", "output")
GROUND = (
    *("errors", "files", "hand", "geometry", "alignment", "angles", "datatypes", "track"),
    *("config", "rle"),
)
# Ground, too, but for one large library that each is about.
GROUND_WITH = {"handmask": "cv2"}
# The one file that may name the pickle module: it reads no more than arrays and containers.
ARRAYS_ONLY = PACKAGE / "sets" / "unpickle.py"
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
every_file = pytest.mark.parametrize(
    "path", FILES, ids=[str(f.relative_to(PACKAGE)) for f in FILES]
)


def imports(path: Path) -> set[str]:
    """List the full names of all modules that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    """List the parts of hdrvideo (first level below it) that a file imports."""
    names = [name.split(".") for name in imports(path)]
    return {n[1] for n in names if n[0] == "hdrvideo" and len(n) > 1}


def outside(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def files_of(*stages: str) -> list[Path]:
    found = [f for f in FILES if f.relative_to(PACKAGE).parts[0] in stages]
    assert len(found) >= 3 * len(stages)
    return found


def test_the_files_are_found():
    assert {PACKAGE / f"{name}.py" for name in GROUND} <= set(FILES)
    assert "datatypes" in ours(PACKAGE / "frame" / "stage.py")
    assert "av" in outside(PACKAGE / "clip" / "read.py")


@every_file
def test_imports_are_absolute(path):
    assert not [name for name in imports(path) if name.startswith(".")]


@pytest.mark.parametrize("stage", STAGES)
def test_stages_import_the_ground_and_themselves_only(stage):
    for path in files_of(stage):
        allowed = {stage, *GROUND}
        # engine-free helpers and the version are no stage.
        used = ours(path) & {*STAGES, "build", "pipeline", "jobs", "cli", "engine", "checkpoint"}
        assert used <= allowed, f"{path} imports {sorted(used - allowed)}"


@pytest.mark.parametrize("name", [*GROUND, *GROUND_WITH])
def test_the_ground_imports_only_ground(name):
    assert ours(PACKAGE / f"{name}.py") <= set(GROUND)
    large = {"torch", "cv2", "av", "decord", "pyarrow"} - {GROUND_WITH.get(name)}
    assert not outside(PACKAGE / f"{name}.py") & large


def test_sets_import_the_ground_and_themselves_only():
    for path in files_of("sets"):
        assert ours(path) <= {"sets", *GROUND}, path
        assert not outside(path) & {"torch", "av", "decord", "pyarrow", "h5py"}, path


def test_output_needs_no_torch():
    for path in files_of("output"):
        assert "torch" not in outside(path), path
    code = (
        "import hdrvideo.output.save, hdrvideo.output.formats, hdrvideo.output.panels, sys;"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# What fits the hand model to joints; joins no stages, knows no pictures.
FIT = (
    *("rotation", "handmodel", "chain", "ik", "first_guess", "solve", "fit", "checkpoint"),
    *("solids", "penetration"),
)


def test_synth_knows_the_hand_and_no_stage():
    for path in files_of("synth"):
        assert ours(path) <= {"synth", "__version__", *GROUND, *FIT}, path


@pytest.mark.parametrize("name", FIT)
def test_the_fit_knows_no_stage(name):
    assert ours(PACKAGE / f"{name}.py") <= {*GROUND, *FIT}


def test_train_knows_nets_and_made_data_and_no_other_stage():
    allowed = {"train", "frame", "motion", "rivals", "synth", "sets", "__version__"}
    allowed |= {*GROUND, *GROUND_WITH, *FIT}
    for path in files_of("train"):
        assert ours(path) <= allowed, path


def test_rivals_know_the_frames_parts_and_the_hand_and_no_data():
    for path in files_of("rivals"):
        assert ours(path) <= {"rivals", "frame", *GROUND, *FIT}, path
        assert "checkpoint" not in ours(path), path
        assert "hdrvideo.frame.stage" not in imports(path), path


@every_file
def test_only_the_training_and_the_builder_know_the_rivals(path):
    if path.relative_to(PACKAGE).parts[0] not in (
        *("rivals", "train", "training.py", "build.py", "build_rivals.py"),
    ):
        assert "rivals" not in ours(path)


@every_file
def test_nothing_that_runs_on_clips_needs_the_training(path):
    if path.relative_to(PACKAGE).parts[0] not in (
        "train",
        "training.py",
        "rehearse.py",
        "cli_train.py",
    ):
        assert not ours(path) & {"train", "training"}


def test_validate_knows_no_stage_but_what_it_reads():
    for path in files_of("validate"):
        assert not ours(path) & {"clip", "crop", "frame", "motion", "build", "pipeline", "jobs"}


def test_made_data_and_nets_run_where_no_video_library_is():
    alone = [PACKAGE / f"{name}.py" for name in FIT]
    for path in [*files_of("frame", "motion", "rivals", "synth", "train"), *alone]:
        assert not outside(path) & {"av", "decord", "pyarrow"}, path


@every_file
def test_nobody_imports_the_command_line(path):
    if path.name not in ("__main__.py", "cli.py"):
        assert not ours(path) & {"cli", "cli_world", "cli_train"}


@every_file
def test_no_pickle_and_no_code_from_text(path):
    allowed = {"pickle"} if path == ARRAYS_ONLY else set()
    assert outside(path) & {"pickle", "torchvision", "timm", "mediapipe"} == allowed
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "breakpoint"), node.lineno


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


@every_file
def test_budgets(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert code_lines(node) <= MAX_FUNCTION_LINES, node.name
