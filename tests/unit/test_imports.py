"""Which module may import which: the rooms, their order, and the one place of each library's internals."""

import ast
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter

from contract.project import PROJECT_FOLDER

OURS = ("app", "contract", "deployments")
# Each is loaded in a model's replica only.
ENGINE_LIBRARIES = {
    "bark", "ctranslate2", "diffusers", "espeakng_loader", "faster_whisper", "onnxruntime", "qwen_tts",
    "sentence_transformers", "torch", "torchaudio", "transformers", "TTS", "vllm",
}  # fmt: skip
# What their authors may change in any release.
INTERNALS = ("vllm", "ray.experimental.internal_kv", "ray.serve.context", "torch._dynamo", "TTS", "qwen_tts")


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


SOURCES = {
    module_name(str(path.relative_to(PROJECT_FOLDER))): ast.parse(path.read_text())
    for folder in OURS
    for path in (PROJECT_FOLDER / folder).rglob("*.py")
}


def imports(tree: ast.AST) -> set[str]:
    """The dotted names of what is imported anywhere in `tree`; of ours, the modules."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found |= {_module(f"{node.module}.{alias.name}", str(node.module)) for alias in node.names}
    return found


def _module(name: str, parent: str) -> str:
    return parent if parent.partition(".")[0] in OURS and name not in SOURCES else name


IMPORTS = {name: imports(tree) for name, tree in SOURCES.items()}
AT_THE_TOP = {
    name: {one for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for one in imports(node)}
    for name, tree in SOURCES.items()
}


def package(module: str) -> str:
    return module.partition(".")[0]


def arrows(importer: str, *imported: str) -> list[str]:
    """The imports from one of our packages to others, written `module imports module`."""
    return [
        f"{module} imports {one}"
        for module in sorted(IMPORTS)
        if package(module) == importer
        for one in sorted(IMPORTS[module])
        if package(one) in imported
    ]


def test_the_contract_imports_nothing_of_ours() -> None:
    assert arrows("contract", "app", "deployments", "cluster", "local_models", "tests") == []


def test_an_engine_imports_only_the_contract() -> None:
    assert arrows("deployments", "app", "cluster", "local_models", "tests") == []


def test_only_the_builder_knows_the_deployments_and_of_them_the_one_replica() -> None:
    assert arrows("app", "deployments") == ["app.builder imports deployments.replica"]


def test_the_replica_names_no_engine() -> None:
    """The catalogue's line does, as a text that is imported where the engine starts."""
    known = {one for one in IMPORTS["deployments.replica"] if package(one) == "deployments"}
    assert known <= {f"deployments.{one}" for one in ("health", "kept_log", "request_log", "slots", "watchdog")}


def test_neither_the_gateway_nor_the_contract_imports_a_library_of_an_engine() -> None:
    assert arrows("app", *ENGINE_LIBRARIES) + arrows("contract", *ENGINE_LIBRARIES) == []


def test_an_engine_s_module_loads_its_library_when_it_starts() -> None:
    """So that the gateway may name the classes, and unit tests need no engine."""
    found = {module: {one for one in top if package(one) in ENGINE_LIBRARIES} for module, top in AT_THE_TOP.items()}
    assert {module: libraries for module, libraries in found.items() if libraries} == {}


def test_the_folders_of_the_app_import_each_other_in_one_direction() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module, imported in IMPORTS.items():
        if package(module) == "app":
            graph[room(module)] |= {room(one) for one in imported if package(one) == "app"} - {room(module)}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def room(module: str) -> str:
    """`app.budgets` of `app.budgets.store`; a module beside the folders is a room of its own."""
    return ".".join(module.split(".")[:2])


def test_each_library_s_internals_are_known_to_one_file_or_to_one_folder_of_that_name() -> None:
    known: dict[str, set[str]] = defaultdict(set)
    for module, imported in IMPORTS.items():
        for one in imported:
            if (internal := internal_of(one)) is not None:
                known[internal].add(place(module))
    assert {internal: places for internal, places in known.items() if len(places) > 1} == {}


def place(module: str) -> str:
    """The folder `internals` that `module` lies in; else the module itself."""
    above, internals, _ = module.partition(".internals.")
    return above + internals.rstrip(".")


def internal_of(name: str) -> str | None:
    """The part of a library that `name` lies in, where that is private: `ray.serve._private.config`, `vllm`."""
    if package(name) in OURS:
        return None
    for internal in INTERNALS:
        if name == internal or name.startswith(f"{internal}."):
            return internal
    parts = name.split(".")
    private = next((at for at, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")), None)
    return None if private is None else ".".join(parts[: private + 2])


def test_opentelemetry_is_known_to_the_tracer_only_and_nobody_imports_that() -> None:
    """It is imported by its name, where the configuration traces."""
    tracer = {f"app.telemetry.{one}" for one in ("serve_spans", "spans", "tracer")}
    assert {name for name, found in IMPORTS.items() if any(package(one) == "opentelemetry" for one in found)} == tracer
    assert {name for name, found in IMPORTS.items() if found & tracer} <= tracer


def test_the_command_line_starts_without_ray() -> None:
    """Ray takes as long to import as all the rest, and reads its environment then."""
    code = "import sys, app.__main__; print([name for name in ('ray', 'torch', 'openai') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT_FOLDER, check=True)
    assert found.stdout.strip() == "[]"
