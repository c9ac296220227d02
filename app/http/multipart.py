"""Reads a multipart form with one file as it streams in, under limits. The parsing is python-multipart's."""

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.http.body import BodyReader, Receive
from contract.errors import ApiError

MAX_FIELDS = 64
MAX_FIELD_BYTES = 64 * 1024
MAX_NAME_BYTES = 256
MAX_OTHER_BYTES = 1024 * 1024  # everything but the file: fields, headers, boundaries
PIECE_BYTES = 64 * 1024  # parsed at once
MAX_SHOWN_LENGTH = 64  # of a field's name in an error


class Form(NamedTuple):
    """What a form holds."""

    fields: list[tuple[str, str]]  # in their order
    file: bytearray  # its name and its type are not looked at: the content says what it is


async def read_form(receive: Receive, headers: dict[str, str], file_name: str, max_file_bytes: int) -> Form:
    """The form in the body, whose part `file_name` is the one file; parts may come in any order.

    Raises ApiError: `request_too_large` while it still comes, `invalid_form`, `missing_required_parameter`.
    """
    reader = _Reader(_boundary(headers), file_name, max_file_bytes)
    body = BodyReader(receive, headers, max_file_bytes + MAX_OTHER_BYTES)
    while not body.ended:
        piece = await body.piece()
        for start in range(0, len(piece), PIECE_BYTES):
            reader.feed(piece[start : start + PIECE_BYTES])
    return reader.form()


def _boundary(headers: dict[str, str]) -> bytes:
    media_type, options = parse_options_header(headers.get("content-type"))
    boundary = options.get(b"boundary")
    if media_type != b"multipart/form-data" or not boundary:
        raise ApiError("invalid_form", "Send the request as multipart/form-data, with a boundary in its Content-Type.")
    return boundary


class _Reader:
    """Takes the parser's callbacks and keeps what they bring."""

    def __init__(self, boundary: bytes, file_name: str, max_file_bytes: int) -> None:
        self._file_name = file_name
        self._max_file_bytes = max_file_bytes
        self._fields: list[tuple[str, str]] = []
        self._file: bytearray | None = None
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
        if self._file is None:
            raise ApiError("missing_required_parameter", f"`{self._file_name}` is missing.", param=self._file_name)
        return Form(self._fields, self._file)

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
        if self._name == self._file_name:
            if self._file is not None:
                raise ApiError("invalid_form", "The form has two files. Send one.", param=self._file_name)
            if b"filename" not in options:
                raise ApiError(
                    "invalid_type",
                    f"`{self._file_name}` must be a file: a part of the form with a `filename`.",
                    param=self._file_name,
                )
            self._file = self._content
        elif len(self._fields) == MAX_FIELDS:
            raise ApiError("invalid_form", f"The form has more than {MAX_FIELDS} fields.")

    def _content_comes(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]
        if self._content is self._file:
            if len(self._content) > self._max_file_bytes:
                message = f"The file is larger than the {self._max_file_bytes} bytes that are allowed here. "
                message += "Send it in parts, or as a smaller format."
                raise ApiError("request_too_large", message, param=self._file_name)
        elif len(self._content) > MAX_FIELD_BYTES:
            message = (
                f"The field `{self._shown}` of the form is larger than the {MAX_FIELD_BYTES} bytes that are allowed."
            )
            raise ApiError("request_too_large", message, param=self._shown)

    def _part_ends(self) -> None:
        if self._content is not self._file:
            try:
                self._fields.append((self._name, self._content.decode()))
            except UnicodeDecodeError:
                message = (
                    f"The field `{self._shown}` of the form is not UTF-8 text. A file goes into the field "
                    f"`{self._file_name}`."
                )
                raise ApiError("invalid_form", message, param=self._shown) from None

    def _form_ends(self) -> None:
        self._ended = True


def _broken() -> ApiError:
    return ApiError("invalid_form", "The form is cut off or is not valid multipart/form-data (RFC 7578).")
