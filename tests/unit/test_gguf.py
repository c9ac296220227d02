"""GGUF files: every type of tensor that is read, worked out by hand, and what is refused."""

import struct
from pathlib import Path

import pytest

from local_models.gguf import Gguf, GgufError
from tests.gguf_files import Tensor, write_gguf

Q8_0 = struct.pack("<e32b", 0.5, *range(-16, 16))
# Sixteen bytes whose low halves are the first sixteen values and whose high halves are the others.
Q4_1 = struct.pack("<ee16B", 0.25, -1.0, *(low | (15 - low) << 4 for low in range(16)))
TENSORS = {
    "f32": Tensor((2, 3), 0, struct.pack("<6f", 1, 2, 3, 4, 5, 6.5)),
    "f16": Tensor((3,), 1, struct.pack("<3e", 0.5, -2, 65504)),
    "q8_0": Tensor((32,), 8, Q8_0),
    "q4_1": Tensor((2, 32), 3, Q4_1 + Q8_0[:2] + struct.pack("<e16B", 2.0, *[0x10] * 16)),
}
METADATA = {"general.name": "tiny ü", "number": 7, "share": 0.5, "words": ["a", "", "é"], "numbers": [[1, 2], [3]]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", METADATA, TENSORS)


def test_metadata_is_what_the_file_says(path: Path) -> None:
    assert Gguf(path).metadata == METADATA


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("f32", [[1, 2, 3], [4, 5, 6.5]]),
        ("f16", [0.5, -2, 65504]),
        ("q8_0", [0.5 * step for step in range(-16, 16)]),
        (
            "q4_1",
            [
                [0.25 * step - 1 for step in [*range(16), *reversed(range(16))]],
                [2.0] * 16 + [2.5] * 16,
            ],
        ),
    ],
)
def test_a_tensor_is_read_as_float32(path: Path, name: str, values: object) -> None:
    tensor = Gguf(path).tensor(name)
    assert tensor.dtype == "float32"
    assert tensor.tolist() == values


def test_tensors_are_named_in_the_files_order(path: Path) -> None:
    assert Gguf(path).names == tuple(TENSORS)


@pytest.mark.parametrize("padding", range(32))
def test_data_begins_at_a_multiple_of_the_alignment(tmp_path: Path, padding: int) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", {"padding": "x" * padding}, {"f16": TENSORS["f16"]})
    assert Gguf(path).tensor("f16").tolist() == [0.5, -2, 65504]


def test_another_type_of_tensor_is_refused_by_its_name(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", {}, {"blk.0.attn_q.weight": Tensor((256,), 14, bytes(210))})
    with pytest.raises(GgufError, match=r"blk\.0\.attn_q\.weight is a tensor of type 14; types 0, 1, 3, 8 are read"):
        Gguf(path).tensor("blk.0.attn_q.weight")


def test_a_cut_file_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    with pytest.raises(GgufError, match="the file ends at byte 40"):
        Gguf(path)
    path.write_bytes(whole[:-40])
    with pytest.raises(GgufError, match="the file ends at byte"):
        Gguf(path).tensor("q4_1")


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.gguf"
    other.write_bytes(b"PK\x03\x04 a zip file")
    with pytest.raises(GgufError, match=r"model\.gguf is not a GGUF file"):
        Gguf(other)


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="of GGUF version 9"):
        Gguf(write_gguf(tmp_path / "tiny.gguf", {}, {}, version=9))
