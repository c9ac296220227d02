"""Reads a multipart form with files as it streams in, under limits. The parsing is python-multipart's."""

from collections.abc import Mapping
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.http.body import BodyReader, Receive
from contract.errors import ApiError

FORM_TYPE = b"multipart/form-data"
MAX_FIELDS = 64
MAX_FIELD_BYTES = 64 * 1024
MAX_NAME_BYTES = 256
MAX_OTHER_BYTES = 1024 * 1024  # everything but the file: fields, headers, boundaries
PIECE_BYTES = 64 * 1024  # parsed at once
MAX_SHOWN_LENGTH = 64  # of a field's name in an error


class Form(NamedTuple):
    """What a form holds."""

    fields: list[tuple[str, str]]  # in their order
    # By their names, in their order. What a file itself is called, and its type, is not looked at: the content says it.
    files: dict[str, list[bytearray]]


def is_form(headers: dict[str, str]) -> bool:
    """Whether a request says that its body is a form."""
    return parse_options_header(headers.get("content-type"))[0] == FORM_TYPE


async def read_form(receive: Receive, headers: dict[str, str], files: Mapping[str, int], max_file_bytes: int) -> Form:
    """The form in the body; parts may come in any order. `files` are those that are files, and how many of each there
    may be, also as `name[]`; all of them together have at most `max_file_bytes`.

    Raises ApiError: `request_too_large` while it still comes, `invalid_form`, `invalid_type`.
    """
    reader = _Reader(_boundary(headers), files, max_file_bytes)
    body = BodyReader(receive, headers, max_file_bytes + MAX_OTHER_BYTES)
    while not body.ended:
        piece = await body.piece()
        for start in range(0, len(piece), PIECE_BYTES):
            reader.feed(piece[start : start + PIECE_BYTES])
    return reader.form()


def _boundary(headers: dict[str, str]) -> bytes:
    media_type, options = parse_options_header(headers.get("content-type"))
    boundary = options.get(b"boundary")
    if media_type != FORM_TYPE or not boundary:
        raise ApiError("invalid_form", "Send the request as multipart/form-data, with a boundary in its Content-Type.")
    return boundary


class _Reader:
    """Takes the parser's callbacks and keeps what they bring."""

    def __init__(self, boundary: bytes, files: Mapping[str, int], max_file_bytes: int) -> None:
        self._most = files
        self._bytes_left = max_file_bytes
        self._max_file_bytes = max_file_bytes
        self._fields: list[tuple[str, str]] = []
        self._files: dict[str, list[bytearray]] = {}
        self._is_file = False
        self._header = (bytearray(), bytearray())  # name and value of the header that is read
        self._disposition = b""
        self._name = ""
        self._content = bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._content_begins,
                    "on_part_data": self._content_comes,
                    "on_part_end": self._part_ends,
                    "on_end": self._form_ends,
                },
            )
        except FormParserError:
            raise _broken() from None

    def feed(self, piece: bytes) -> None:
        if self._ended:
            return  # what stands behind the form is no part of it
        try:
            self._parser.write(piece)
        except FormParserError:
            raise _broken() from None

    def form(self) -> Form:
        if not self._ended:
            raise _broken()
        return Form(self._fields, self._files)

    @property
    def _shown(self) -> str:
        """The field's name as an error may repeat it."""
        return self._name[:MAX_SHOWN_LENGTH]

    def _part_begins(self) -> None:
        self._disposition = b""
        self._content = bytearray()

    def _header_ends(self) -> None:
        name, value = map(bytes, self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() == b"content-disposition":
            self._disposition = value

    def _content_begins(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"")
        if kind != b"form-data" or not name or len(name) > MAX_NAME_BYTES:
            raise _broken()
        try:
            self._name = name.decode()
        except UnicodeDecodeError:
            raise ApiError("invalid_form", "The name of a field of the form is not UTF-8 text.") from None
        base = self._name.removesuffix("[]")
        most = self._most.get(base, 0)
        self._is_file = most > 1 or (most == 1 and base == self._name)  # `name[]` is one of several
        if self._is_file:
            self._file_begins(base, has_filename=b"filename" in options)
        elif len(self._fields) == MAX_FIELDS:
            raise ApiError("invalid_form", f"The form has more than {MAX_FIELDS} fields.")

    def _file_begins(self, name: str, *, has_filename: bool) -> None:
        files, most = self._files.setdefault(name, []), self._most[name]
        if len(files) == most:
            message = "two files. Send one." if most == 1 else f"more than {most} files in `{name}`."
            raise ApiError("invalid_form", f"The form has {message}", param=name)
        if not has_filename:
            message = f"`{name}` must be a file: a part of the form with a `filename`."
            raise ApiError("invalid_type", message, param=name)
        self._name = name
        files.append(self._content)

    def _content_comes(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]
        if self._is_file:
            self._bytes_left -= end - start
            if self._bytes_left < 0:
                what = "The file is" if sum(self._most.values()) == 1 else "The files are"
                message = f"{what} larger than the {self._max_file_bytes} bytes that are allowed here. "
                message += "Send it in parts, or as a smaller format."
                raise ApiError("request_too_large", message, param=self._name)
        elif len(self._content) > MAX_FIELD_BYTES:
            message = (
                f"The field `{self._shown}` of the form is larger than the {MAX_FIELD_BYTES} bytes that are allowed."
            )
            raise ApiError("request_too_large", message, param=self._shown)

    def _part_ends(self) -> None:
        if not self._is_file:
            try:
                self._fields.append((self._name, self._content.decode()))
            except UnicodeDecodeError:
                names = " or ".join(f"`{name}`" for name in self._most)
                message = (
                    f"The field `{self._shown}` of the form is not UTF-8 text. A file goes into the field {names}."
                )
                raise ApiError("invalid_form", message, param=self._shown) from None

    def _form_ends(self) -> None:
        self._ended = True


def _broken() -> ApiError:
    return ApiError("invalid_form", "The form is cut off or is not valid multipart/form-data (RFC 7578).")
