"""Lets torchvision's CUDA package load beside torch for CPUs: a vision model needs its transforms, which are Python.

Only the replica of the tests' vision model has this folder, and torchvision, on its path. Where torchvision's own CPU
build is at hand, none of this is needed.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

# torchvision says how these run on a GPU without asking whether they exist.
OPERATORS = ("torchvision::nms", "torchvision::qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class DefineOperators(importlib.abc.MetaPathFinder):
    """Defines the operators of torchvision's missing binary part just before it is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torchvision":
            return None
        import torch

        sys.meta_path.remove(self)
        for operator in OPERATORS:
            torch.library.define(operator, SIGNATURE)
        return importlib.util.find_spec(name)


sys.meta_path.insert(0, DefineOperators())
