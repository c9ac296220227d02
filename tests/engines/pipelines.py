"""How the small pipelines are run in the tests."""

from contract.project import PROJECT_FOLDER

MODELS = PROJECT_FOLDER / "local_models"
OPTIONS = {"device": "cpu", "steps": 4, "default_size": "64x64"}
ROUNDING = 1  # of 255: a batch adds its numbers in another order
