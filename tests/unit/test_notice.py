"""NOTICE names what in the image has a licence that asks something of who passes it on."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from contract.project import PROJECT_FOLDER

NOTICE = (PROJECT_FOLDER / "NOTICE").read_text()
VENV = PROJECT_FOLDER / ".venv"
LOCKS_OF_THE_IMAGE = ("gpu", "launcher", "cuda12", "xtts", "qwen-tts", "onnxruntime-gpu")
COPYLEFT = re.compile(r"GPL|Mozilla|MPL-|EUPL|CDDL|EPL-")
# Of a wheel's folder of libraries: the part of a file's name, and how NOTICE calls it.
LIBRARIES = {
    "avcodec": "FFmpeg", "x264": "x264", "x265": "x265", "gnutls": "GnuTLS", "nettle": "Nettle", "hogweed": "Nettle",
    "gmp": "GMP", "unistring": "libunistring", "mp3lame": "LAME", "asound": "alsa-lib", "dav1d": "dav1d",
    "vpx": "libvpx", "webp": "libwebp", "sharpyuv": "libwebp", "opus": "Opus", "SvtAv1": "SVT-AV1", "vpl": "oneVPL",
    "opencore": "OpenCORE AMR", "xcb": "XCB", "Xau": "XCB", "drm": "XCB",
}  # fmt: skip
OF_FFMPEG = re.compile(r"lib(av|sw)[a-z]+-")


def named(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def in_the_image() -> set[str]:
    texts = ((PROJECT_FOLDER / "locks" / f"{lock}.txt").read_text() for lock in LOCKS_OF_THE_IMAGE)
    return {named(name) for text in texts for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def licence(one: Distribution) -> str:
    fields = [one.metadata.get_all(name) or [] for name in ("License-Expression", "Classifier", "License")]
    classifiers = [text for text in fields[1] if text.startswith("License")]
    return " ".join([*fields[0], *classifiers, *(text.strip().partition("\n")[0] for text in fields[2])])


def copyleft() -> Iterator[str]:
    """The packages of the image that are installed here too, in any folder, and whose licence is a copyleft."""
    there = in_the_image()
    for path in (None, VENV / "xtts", VENV / "qwen-tts"):
        for one in distributions() if path is None else distributions(path=[str(path)]):
            if named(one.metadata["Name"]) in there and COPYLEFT.search(licence(one)):
                yield one.metadata["Name"]


@pytest.mark.parametrize("name", sorted({*copyleft(), "espeakng-loader"}))
def test_every_package_under_a_copyleft_is_named(name: str) -> None:
    assert re.search(rf"\b{re.escape(name)}\b", NOTICE)


def test_every_library_that_pyav_brings_is_named() -> None:
    import av

    libraries = Path(av.__file__).parent.parent / "av.libs"
    for path in sorted(libraries.glob("*.so*")):
        called = next((called for part, called in LIBRARIES.items() if part in path.name), None)
        assert called or OF_FFMPEG.match(path.name), f"{path.name}: what licence has it? Name it in NOTICE"
        assert called is None or re.search(rf"\b{re.escape(called)}\b", NOTICE), path.name
