"""The folder of the project, and places in it."""

from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parent.parent


def in_project(place: str) -> str:
    """`place` as it is, or an absolute path where it begins with ./"""
    return str(PROJECT_FOLDER / place) if place.startswith("./") else place
