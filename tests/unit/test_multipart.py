"""Forms with files: any order, any cut of the stream, bounds while it streams in; and their fields' types."""

import asyncio
from typing import Any

import pytest

from app.config.limits import Limits
from app.endpoints.transcriptions import TABLE
from app.endpoints.translations import TRANSLATIONS
from app.http.body import ClientGone, impatient, read_body
from app.http.multipart import MAX_FIELD_BYTES, MAX_FIELDS, MAX_OTHER_BYTES, Form, is_form, read_form
from app.parameters.form_fields import request_of
from contract.errors import ApiError

BOUNDARY = "x7MA4YWxk"
HEADERS = {"content-type": f'multipart/form-data; boundary="{BOUNDARY}"'}
LIMIT = 1000
FILES = {"file": 1}
IMAGES = {"image": 3, "mask": 1}
FILE = bytes(range(256)) * 3 + b"\r\n--x7MA4YWx\r\n--"  # nearly a boundary
MODEL = ('form-data; name="model"', b"pocket-whisper")


def file(content: bytes = FILE) -> tuple[str, bytes]:
    return 'form-data; name="file"; filename="a.wav"', content


def form(*parts: tuple[str, bytes]) -> bytes:
    lines = [f"--{BOUNDARY}\r\nContent-Disposition: {head}\r\n\r\n".encode() + content for head, content in parts]
    return b"\r\n".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


class Stream:
    """A body that comes in pieces; it counts how many were taken."""

    def __init__(self, body: bytes, piece: int) -> None:
        self._pieces = [body[start : start + piece] for start in range(0, len(body), piece)] or [b""]
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        if self.taken == len(self._pieces):
            return {"type": "http.disconnect"}
        self.taken += 1
        more = self.taken < len(self._pieces)
        return {"type": "http.request", "body": self._pieces[self.taken - 1], "more_body": more}


async def read(body: bytes, piece: int = 10_000, headers: dict[str, str] = HEADERS) -> Form:
    return await read_form(Stream(body, piece), headers, FILES, LIMIT)


async def refusal(body: bytes, headers: dict[str, str] = HEADERS) -> tuple[int, str, str | None]:
    with pytest.raises(ApiError) as caught:
        await read(body, headers=headers)
    return caught.value.status, caught.value.code, caught.value.param


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 10_000])
@pytest.mark.parametrize("parts", [[file(), MODEL], [MODEL, file()]], ids=["file first", "file last"])
async def test_parts_in_any_order_and_cut_anywhere(parts: Any, piece: int) -> None:
    read_in = await read(form(*parts), piece)
    assert read_in.fields == [("model", "pocket-whisper")]
    assert read_in.files == {"file": [FILE]}


async def test_an_empty_file_is_a_file() -> None:
    assert (await read(form(MODEL, file(b"")))).files == {"file": [b""]}


async def test_a_file_of_exactly_the_limit() -> None:
    assert (await read(form(file(bytes(LIMIT)), MODEL))).files == {"file": [bytes(LIMIT)]}


async def test_a_form_without_its_file_has_none() -> None:
    """The table of parameters says what is missing."""
    assert (await read(form(MODEL))).files == {}


def image(name: str, content: bytes = FILE) -> tuple[str, bytes]:
    return f'form-data; name="{name}"; filename="a.png"', content


async def images(*parts: tuple[str, bytes], limit: int = 4 * LIMIT) -> Form:
    return await read_form(Stream(form(*parts), 100), HEADERS, IMAGES, limit)


@pytest.mark.parametrize("name", ["image", "image[]"])
async def test_several_files_of_one_name_keep_their_order(name: str) -> None:
    read_in = await images(image(name, b"1"), image("mask"), MODEL, image(name, b"2"), image(name, b"3"))
    assert read_in.files == {"image": [b"1", b"2", b"3"], "mask": [FILE]}
    assert read_in.fields == [("model", "pocket-whisper")]


async def test_more_files_than_there_may_be() -> None:
    for name, times in (("image[]", 4), ("mask", 2)):
        with pytest.raises(ApiError) as caught:
            await images(*[image(name)] * times)
        assert (caught.value.code, caught.value.param) == ("invalid_form", name.removesuffix("[]"))


async def test_the_limit_is_of_all_files_together() -> None:
    assert len((await images(image("image"), image("image"), limit=2 * len(FILE))).files["image"]) == 2
    with pytest.raises(ApiError) as caught:
        await images(image("image"), image("mask", FILE + b"1"), limit=2 * len(FILE))
    assert (caught.value.status, caught.value.param) == (413, "mask")


def test_whether_a_body_is_a_form() -> None:
    assert is_form(HEADERS)
    assert not is_form({"content-type": "application/json"})
    assert not is_form({})


async def test_a_larger_file_is_refused_while_it_comes() -> None:
    stream = Stream(form(MODEL, file(bytes(LIMIT * 100))), 500)
    with pytest.raises(ApiError) as caught:
        await read_form(stream, HEADERS, FILES, LIMIT)
    assert (caught.value.status, caught.value.code, caught.value.param) == (413, "request_too_large", "file")
    assert str(LIMIT) in caught.value.message
    assert stream.taken <= 4


async def test_an_announced_length_beyond_everything_is_refused_at_once() -> None:
    stream = Stream(form(file()), 10)
    with pytest.raises(ApiError, match="larger"):
        await read_form(stream, HEADERS | {"content-length": str(LIMIT + MAX_OTHER_BYTES + 1)}, FILES, LIMIT)
    assert stream.taken == 0


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (form(file(), file()), (400, "invalid_form", "file")),
        (form(('form-data; name="file"', b"RIFF")), (400, "invalid_type", "file")),
        (form(file())[:-8], (400, "invalid_form", None)),
        (form(("form-data", b"x"), file()), (400, "invalid_form", None)),
        (form(('attachment; name="model"', b"x"), file()), (400, "invalid_form", None)),
        (form(('form-data; name="model"', b"\xff"), file()), (400, "invalid_form", "model")),
        (form(('form-data; name="file[]"; filename="a"', FILE)), (400, "invalid_form", "file[]")),
        (form(('form-data; name="a"', b"x" * (MAX_FIELD_BYTES + 1)), file()), (413, "request_too_large", "a")),
        (form(*[MODEL] * (MAX_FIELDS + 1), file()), (400, "invalid_form", None)),
        (b"", (400, "invalid_form", None)),
        (b"no form at all", (400, "invalid_form", None)),
    ],
    ids=["two files", "a text for a file", "cut off", "no name", "not form-data", "not UTF-8",
         "a file of another name", "long field", "many fields", "empty", "no form"],
)  # fmt: skip
async def test_what_is_no_such_form(body: bytes, refused: Any) -> None:
    assert await refusal(body) == refused


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=a",
        "multipart/form-data; boundary=" + "a" * 500,
    ],
)
async def test_another_content_type(content_type: str) -> None:
    assert await refusal(form(file()), {"content-type": content_type}) == (400, "invalid_form", None)


async def test_a_body_that_pauses_for_too_long_ends() -> None:
    async def pause() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    with pytest.raises(ApiError, match="Nothing of the body came") as caught:
        await read_form(impatient(pause, Limits(body_pause_timeout_s=0.01)), HEADERS, FILES, LIMIT)
    assert (caught.value.status, caught.value.code) == (504, "timeout")


async def test_a_body_that_trickles_for_too_long_ends() -> None:
    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"-", "more_body": True}

    with pytest.raises(ApiError, match="The body did not come whole within") as caught:
        await read_body(impatient(trickle, Limits(body_timeout_s=0.1)), {}, LIMIT)
    assert (caught.value.status, caught.value.code) == (504, "timeout")


async def test_a_body_that_comes_slowly_is_read() -> None:
    stream = Stream(form(file(), MODEL), 100)

    async def slowly() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return await stream()

    assert (await read_form(impatient(slowly, Limits(body_pause_timeout_s=5)), HEADERS, FILES, LIMIT)).files == {
        "file": [FILE]
    }


async def test_a_client_that_leaves_before_the_end() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await read_form(gone, HEADERS, FILES, LIMIT)


class TestFields:
    """Text becomes what the table says; what it cannot become stays text."""

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("temperature", "0.5", 0.5),
            ("temperature", "1", 1),
            ("temperature", "NaN", "NaN"),
            ("temperature", "warm", "warm"),
            ("stream", "true", True),
            ("stream", "False", False),
            ("stream", "1", "1"),
            ("strict_params", "true", True),
            ("prompt", "1", "1"),
            ("prompt", "true", "true"),
            ("unknown", "true", "true"),
        ],
    )
    def test_one_field(self, name: str, text: str, value: Any) -> None:
        found = request_of(TABLE, [(name, text)])[name]
        assert (found, type(found)) == (value, type(value))

    @pytest.mark.parametrize("text", ["false", "False", "FALSE"])
    def test_a_flag_that_must_be_false_is_read_as_any_other(self, text: str) -> None:
        assert request_of(TRANSLATIONS.table, [("stream", text)]) == {"stream": False}

    @pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]"])
    def test_a_list_is_a_field_that_repeats(self, name: str) -> None:
        fields = [(name, "word"), ("model", "m"), (name, "segment")]
        assert request_of(TABLE, fields)["timestamp_granularities"] == ["word", "segment"]
        assert request_of(TABLE, [("include[]", "logprobs")]) == {"include": ["logprobs"]}

    def test_an_object_is_several_fields(self) -> None:
        fields = [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "0.5")]
        assert request_of(TABLE, fields) == {"chunking_strategy": {"type": "server_vad", "threshold": "0.5"}}

    def test_an_empty_text_is_an_absent_field(self) -> None:
        assert request_of(TABLE, [("language", ""), ("temperature", ""), ("include[]", "")]) == {}

    @pytest.mark.parametrize("names", [("model", "model"), ("model", "model[a]"), ("a[b]", "a[b]")])
    def test_a_single_field_that_repeats(self, names: tuple[str, str]) -> None:
        with pytest.raises(ApiError) as caught:
            request_of(TABLE, [(name, "x") for name in names])
        assert (caught.value.code, caught.value.status) == ("invalid_form", 400)
