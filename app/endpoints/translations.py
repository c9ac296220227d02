"""POST /v1/audio/translations: recordings in any language, written in English."""

from app.budgets.estimate import CountedFields
from app.endpoints.answers import NUMBER, STRING, Component, array, const, record
from app.endpoints.endpoint import Endpoint
from app.endpoints.transcriptions import (
    FASTER_WHISPER_EXTRAS,
    LANGUAGE,
    RESPONSE_FORMAT,
    SEGMENT,
    TEMPERATURE,
    TEXTS,
    USAGE,
    engine_body,
    recording,
)
from app.parameters.kinds import Fixed, Flag, Text
from app.parameters.row import MODEL, USER, Parameter, Table, Treatment, refused
from contract.protocol import TRANSLATIONS_ROUTE

WHOLE = Fixed(Flag(), False, "a translation comes whole; /v1/audio/transcriptions has it.")
TABLE = Table(
    rows=(
        recording("translations", "translate"),
        MODEL,
        LANGUAGE,
        Parameter("prompt", Text(), "English text to guide the style; the last 223 tokens of it are used."),
        RESPONSE_FORMAT,
        TEMPERATURE,
        USER,
        *FASTER_WHISPER_EXTRAS,
        Parameter("to_language", Fixed(Text(), "en", "translations are in English."), "Language of the translation."),
        Parameter("stream", WHOLE, "Whether to stream the response, which only transcriptions do.", Treatment.ACCEPT),
        refused(
            "timestamp_granularities", "verbose_json, srt and vtt have the times of segments.", absent=("segment",)
        ),
    )
)

TRANSLATIONS = Endpoint(
    path=TRANSLATIONS_ROUTE,
    summary="Create translation",
    answer="The translation into English in the `response_format`.",
    content={
        "application/json": Component(
            "Translation",
            record(
                {"text": STRING, "usage": USAGE},
                {  # of verbose_json
                    "task": const("translate"),
                    "language": const("english"),
                    "duration": NUMBER,
                    "segments": array(SEGMENT),
                },
            ),
        ),
        **TEXTS,
    },
    table=TABLE,
    example={"file": b""},
    counted=CountedFields(("prompt",)),
    engine_body=engine_body,
)
