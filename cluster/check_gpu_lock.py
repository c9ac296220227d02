"""Whether the packages of the GPU locks fit together: `python -m cluster.check_gpu_lock`, or `make gpu-lock-check`.

Installs them as the image does, into a folder of their own, on a machine without a GPU: whether their requirements
agree, whether all that this project imports of them is there, and whether compiled code finds every symbol but those of
NVIDIA's driver. About 12 GB of disk and eight minutes on two cores with a fast line.
"""

import argparse
import ast
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from contract.project import PROJECT_FOLDER

LOCKS = PROJECT_FOLDER / "locks"
UV = Path(sys.executable).with_name("uv")
OURS = ("app", "contract", "deployments")
OF_THE_IMAGE = ("gpu", "launcher", "cuda12", "qwen-tts", "xtts", "onnxruntime-gpu")
COMMON = ("gpu", "launcher")  # locks of the environment that all share; the others have a folder each
BUILT = ("qwen-tts",)  # has a package that is published as source only
# Packages with a folder of their own -> that folder's lock. docs/speech.md
SEPARATE = {"TTS": "xtts", "qwen_tts": "qwen-tts"}
# What is compiled against torch, and would not load where it was made for another one.
COMPILED = ("vllm/*.so", "vllm/vllm_flash_attn/*.so", "torchvision/*.so", "torchaudio/lib/*.so")
ON_CUDA = ("onnxruntime-gpu", "onnxruntime/capi/libonnxruntime_providers_cuda.so")  # folder, library
OF_THE_DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1")
# Imports the names that it reads, one after the other, and says how that went: a line of JSON each.
IMPORTER = """
import importlib, importlib.metadata, json, sys, time, warnings
warnings.simplefilter("ignore")
owners = importlib.metadata.packages_distributions()
for module, attributes in json.load(sys.stdin).items():
    began, fault = time.monotonic(), ""
    try:
        loaded = importlib.import_module(module)
        for name in attributes:
            if not hasattr(loaded, name):
                importlib.import_module(f"{module}.{name}")
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}".partition("\\n")[0]
    owner = next(iter(owners.get(module.partition(".")[0], [])), "")
    version = importlib.metadata.version(owner) if owner else ""
    print("\\n" + json.dumps([module, version, time.monotonic() - began, fault]), flush=True)
"""


class Row(NamedTuple):
    """One check."""

    what: str
    version: str
    seconds: float
    fault: str  # empty where it is right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="keep the packages there; left out: a folder that is removed again")
    given = parser.parse_args().folder
    if given is not None:
        return _check(given.resolve())
    with tempfile.TemporaryDirectory(prefix="portico-gpu-lock-") as folder:
        return _check(Path(folder))


def _check(folder: Path) -> int:
    began = time.monotonic()
    rows = [*installed(folder), *imported(folder), *linked(folder), *loaded(folder / "cuda12")]
    width = max(len(row.what) for row in rows)
    for row in rows:
        print(f"{row.what.ljust(width)}  {row.version:>16}  {row.seconds:6.1f} s  {row.fault or 'ok'}")
    wrong = sum(bool(row.fault) for row in rows)
    print(f"{len(rows)} checks, {wrong} of them fail; {time.monotonic() - began:.0f} s. Nothing was run on a GPU.")
    return 1 if wrong else 0


def installed(folder: Path) -> Iterable[Row]:
    """The packages, installed as in cluster/Dockerfile. Raises CalledProcessError."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)  # noqa: S603 - no shell, no input
    for name in OF_THE_IMAGE:
        began = time.monotonic()
        target: list[Any] = [] if name in COMMON else ["--target", folder / name]
        build = "--no-build-isolation" if name in BUILT else "--no-build"
        where = ["--python", python, "--no-deps", "--require-hashes", build, *target]
        command = [UV, "pip", "install", "--quiet", *where, "-r", LOCKS / f"{name}.txt"]
        subprocess.run(command, check=True)  # noqa: S603 - no shell, no input
        pins = (LOCKS / f"{name}.txt").read_text().count("==")
        yield Row(f"install locks/{name}.txt", f"{pins} pins", time.monotonic() - began, "")
    began = time.monotonic()
    result = subprocess.run(  # noqa: S603 - no shell, no input
        [UV, "pip", "check", "--python", python], capture_output=True, text=True, check=False
    )
    fault = "" if result.returncode == 0 else result.stderr.strip().replace("\n", "; ")
    yield Row("their requirements agree", "", time.monotonic() - began, fault)


def names_imported() -> dict[str, dict[str, list[str]]]:
    """What our sources import of others: folder of packages ("" for the common ones) -> module -> names."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in (path for folder in OURS for path in sorted((PROJECT_FOLDER / folder).rglob("*.py"))):
        tree = ast.parse(path.read_text())
        tried = {id(one) for node in ast.walk(tree) for one in _tried(node)}
        for node in ast.walk(tree):
            if id(node) in tried:
                continue
            modules: dict[str, list[str]]
            if isinstance(node, ast.Import):
                modules = {alias.name: [] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules = {str(node.module): [alias.name for alias in node.names]}
            else:
                continue
            for module, names in modules.items():
                package = module.partition(".")[0]
                if package not in sys.stdlib_module_names and package not in OURS:
                    known = found.setdefault(SEPARATE.get(package, ""), {}).setdefault(module, [])
                    known += [name for name in names if name not in known]
    return found


def _tried(node: ast.AST) -> list[ast.stmt]:
    """The statements that may fail with ImportError, for what follows is another way."""
    if not isinstance(node, ast.Try):
        return []
    caught = {name.id for one in node.handlers if one.type for name in ast.walk(one.type) if isinstance(name, ast.Name)}
    return node.body if caught & {"ImportError", "ModuleNotFoundError"} else []


def imported(folder: Path) -> Iterable[Row]:
    """Each module that our sources import, imported with the names that they use."""
    for name, modules in names_imported().items():
        environment = os.environ | {"PYTHONPATH": str(folder / name) if name else "", "CUDA_VISIBLE_DEVICES": ""}
        result = subprocess.run(  # noqa: S603 - no shell, no input
            [folder / "venv" / "bin" / "python", "-c", IMPORTER],
            input=json.dumps(modules), env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        reports = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('["')]
        yield from (Row(f"import {module}", *rest) for module, *rest in reports)
        if missing := sorted(set(modules) - {report[0] for report in reports}):
            yield Row(f"import {missing[0]}", "", 0, f"the process ended there: {result.stderr.strip()[-200:]}")


def linked(folder: Path) -> Iterable[Row]:
    """Whether compiled code finds every library and every symbol, but those of NVIDIA's driver."""
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    places = [packages / "torch" / "lib", *packages.glob("nvidia/*/lib")]
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, places))}
    files = sorted(file for pattern in COMPILED for file in packages.glob(pattern))
    for file in [*files, folder.joinpath(*ON_CUDA)]:
        began = time.monotonic()
        result = subprocess.run(  # noqa: S603 - no shell, no input
            ["ldd", "-r", file],  # noqa: S607 - the system's
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        faults = [line.strip() for line in (result.stdout + result.stderr).splitlines() if _is_fault(line)]
        yield Row(f"link {file.parent.name}/{file.name}", "", time.monotonic() - began, "; ".join(faults[:3]))


def _is_fault(line: str) -> bool:
    if "not found" in line:
        return not any(library in line for library in OF_THE_DRIVER)
    symbol = line.partition("undefined symbol: ")[2]
    # Of the interpreter, of what ONNX Runtime has loaded before, and of the driver.
    is_elsewhere = symbol.startswith(("Py", "_Py", "Provider_GetHost")) or re.match(r"cu[A-Z]", symbol)
    return bool(symbol) and not is_elsewhere


def loaded(folder: Path) -> Iterable[Row]:
    """CTranslate2's libraries, from where its replicas look for them."""
    for name in ("cublas/lib/libcublasLt.so.12", "cublas/lib/libcublas.so.12", "cudnn/lib/libcudnn.so.9"):
        began, fault = time.monotonic(), ""
        try:
            ctypes.CDLL(str(folder / "nvidia" / name), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            fault = str(error)
        yield Row(f"load {name}", "", time.monotonic() - began, fault)


if __name__ == "__main__":
    sys.exit(main())
