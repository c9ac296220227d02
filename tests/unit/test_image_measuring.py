"""Images by their headers: what is measured, and what would cost who reads it more than any real image does."""

import io
import struct
import tracemalloc
import zlib

import pytest
from PIL import Image

from app.gateway.image_measuring import MAX_BLOCKS, MAX_METADATA_BYTES, UnreadableImage, measure
from tests.sample_images import chunk, image

MANY = MAX_BLOCKS + 1


def png(before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG with chunks after its header and before its end."""
    content = image()
    return content[:33] + before + content[33:-12] + after + content[-12:]


def jpeg(before: bytes) -> bytes:
    content = image(form="JPEG")
    return content[:2] + before + content[2:]


def gif(before: bytes) -> bytes:
    """A GIF with blocks before its picture."""
    content = image(form="GIF")
    place = 13 + (3 << (content[10] & 7) + 1)
    return content[:place] + before + content[place:]


def webp(after: bytes) -> bytes:
    content = image(form="WEBP") + after
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]


def animation(form: str) -> bytes:
    frames = [Image.new("RGB", (16, 8), (number * 10, 0, 0)) for number in range(20)]
    content = io.BytesIO()
    frames[0].save(content, form, save_all=True, append_images=frames[1:])
    return content.getvalue()


def fault(content: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        measure(content)
    return str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_an_image_is_measured(form: str) -> None:
    assert measure(image(64, 48, form)) == (form.lower(), 64 * 48)


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP"])
def test_an_animation_is_its_first_picture(form: str) -> None:
    assert measure(animation(form)).pixels == 16 * 8


def test_what_cameras_and_editors_write_is_legal() -> None:
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a" * 60_000
    Image.open(io.BytesIO(image(800, 600))).save(
        content, "JPEG", progressive=True, exif=exif, icc_profile=bytes(3_000_000), comment=b"a boat"
    )
    assert measure(content.getvalue()) == ("jpeg", 480_000)
    assert measure(png(chunk(b"tEXt", b"Comment\0" + b"a" * 100_000))).format == "png"


@pytest.mark.parametrize(
    "content",
    [
        png(chunk(b"abCd") * MANY),
        png(chunk(b"tEXt", b"a\0b") * MANY),
        png(after=chunk(b"IDAT") * MANY),
        png(after=chunk(b"fcTL", bytes(26)) * MANY),
        webp((b"ANMF" + struct.pack("<I", 16) + bytes(16)) * MANY),
        jpeg(b"\xff\xfe\x00\x02" * MANY),
        jpeg(b"\xff" * MANY),
        jpeg(b"\x00" * MANY),
        gif(b"\x21\xfe\x01a\x00" * MANY),
        gif(b"\x21\xfe" + b"\x01a" * MANY + b"\x00"),
        gif(b"\x00" * MANY),
    ],
    ids=[
        "chunks of a png", "texts of a png", "pieces of a png", "frames of a png", "frames of a webp",
        "segments of a jpeg", "padding of a jpeg", "junk in a jpeg",
        "comments of a gif", "blocks of a gif's comment", "junk in a gif",
    ],
)  # fmt: skip
def test_too_many_blocks(content: bytes) -> None:
    assert fault(content) == f"it has more than {MAX_BLOCKS} blocks"


@pytest.mark.parametrize(
    "content",
    [
        png(chunk(b"iCCP", bytes(MAX_METADATA_BYTES + 1))),
        png(after=chunk(b"eXIf", bytes(MAX_METADATA_BYTES + 1))),
        webp(b"EXIF" + struct.pack("<I", MAX_METADATA_BYTES + 2) + bytes(MAX_METADATA_BYTES + 2)),
        jpeg((b"\xff\xe1\xff\xff" + bytes(65_533)) * 140),
    ],
    ids=["profile of a png", "exif of a png", "exif of a webp", "exif of a jpeg"],
)
def test_too_much_metadata(content: bytes) -> None:
    assert fault(content) == f"it has more than {MAX_METADATA_BYTES} bytes of metadata"


def test_a_progressive_jpeg_goes_over_its_picture_few_times() -> None:
    content = io.BytesIO()
    Image.open(io.BytesIO(image())).save(content, "JPEG", progressive=True)
    scan = content.getvalue().rindex(b"\xff\xda")
    again = content.getvalue()[scan:-2] * 100
    assert fault(content.getvalue()[:-2] + again + b"\xff\xd9") == "it has more than 100 scans"


def test_what_follows_a_jpeg_s_end_is_not_looked_at() -> None:
    """As in the photos of cameras that keep a film there."""
    content = io.BytesIO()
    Image.open(io.BytesIO(image())).save(content, "JPEG")
    assert measure(content.getvalue() + b"\xff\xda" * 1000).format == "jpeg"


def test_a_gif_whose_picture_is_larger_than_its_screen_is_measured_by_the_picture() -> None:
    content = bytearray(image(form="GIF"))
    place = content.index(b"\x2c", 13 + (3 << (content[10] & 7) + 1))
    content[place + 5 : place + 9] = struct.pack("<HH", 10_000, 8_000)
    assert measure(bytes(content)).pixels == 10_000 * 8_000
    content[place + 5 : place + 9] = struct.pack("<HH", 65_535, 65_535)
    assert fault(bytes(content)) == "it has too many pixels"


def test_a_compressed_profile_is_not_unfolded() -> None:
    profile = b"a\0\0" + zlib.compress(bytes(50_000_000), 9)
    tracemalloc.start()
    assert fault(png(chunk(b"iCCP", profile))) == "it must be a PNG, JPEG, WebP or GIF"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("form", ["BMP", "TIFF", "ICO", "PPM", "ICNS", "PCX", "JPEG2000", "AVIF"])
def test_other_formats_are_refused(form: str) -> None:
    assert fault(image(64, 64, form)) == "it must be a PNG, JPEG, WebP or GIF"
