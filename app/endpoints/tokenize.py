"""POST /v1/tokenize and /v1/detokenize, in vLLM's shapes: the tokens of a text or of messages, the text of tokens."""

from collections.abc import Iterable
from typing import Any

import orjson

from app.budgets.estimate import CountedFields, texts_in
from app.endpoints.answers import INTEGER, STRING, Component, array, nullable, record
from app.endpoints.custom_tools import called_as_functions
from app.endpoints.endpoint import Endpoint
from app.parameters import generation, refused_extras
from app.parameters.kinds import Flag, Text
from app.parameters.media import media_bytes
from app.parameters.messages import Messages, audio, check_tool_results, images
from app.parameters.parts import MEDIA_FIELDS
from app.parameters.row import MODEL, USER, Dropped, Parameter, Table, missing, refused
from app.parameters.texts_or_tokens import MAX_VALUES, TokenIds
from app.parameters.tools import Tools
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import DETOKENIZE_ROUTE, TOKENIZE_ROUTE

MAX_CHARACTERS = 2**20  # of all texts of a request: a second of a tokenizer's, which others wait for
OF_MESSAGES = ("add_generation_prompt", "continue_final_message", "tools", "chat_template_kwargs")


def bound_texts(legal: dict[str, Any], fields: Iterable[str]) -> None:
    """Raises ApiError where the texts in these parameters are longer together than what is tokenized at a time."""
    for field in fields:
        if sum(len(text) for text in texts_in(legal.get(field), MEDIA_FIELDS) if text) > MAX_CHARACTERS:
            message = f"`{field}` has more than {MAX_CHARACTERS} characters, which is what is tokenized at a time."
            raise ApiError("too_large", f"{message} Send it in parts.", param=field)


def check_source(legal: dict[str, Any], profile: Profile) -> Iterable[Dropped]:
    """A prompt or messages; what belongs to messages means nothing beside a prompt."""
    if "prompt" not in legal and "messages" not in legal:
        raise missing("prompt")
    if "prompt" in legal and "messages" in legal:
        raise ApiError("invalid_value", "Send `prompt` or `messages`, not both.", param="messages")
    bound_texts(legal, ("prompt", "messages", "tools"))
    if "messages" in legal:
        check_tool_results(legal, profile)
        if legal.get("continue_final_message") and legal.get("add_generation_prompt"):
            message = "`continue_final_message` cannot be used with `add_generation_prompt`."
            raise ApiError("invalid_value", message, param="continue_final_message")
        return
    for name in OF_MESSAGES:
        if name in legal:
            yield Dropped(name, "it belongs to `messages`")


TABLE = Table(
    rows=(
        MODEL,
        Parameter("prompt", Text(), "Text to tokenize.", capability="tokenize"),
        Parameter(
            "messages",
            Messages(),
            "Messages to tokenize instead, as the chat template writes them.",
            capability="chat",
        ),
        Parameter(
            "add_special_tokens",
            Flag(),
            "Whether special tokens, such as that of the beginning, are added. Default: to a prompt, not to messages.",
        ),
        Parameter("return_token_strs", Flag(), "Whether to return each token's text too."),
        Parameter(
            "add_generation_prompt", Flag(), "Whether the beginning of an answer follows the messages. Default: true."
        ),
        Parameter("continue_final_message", Flag(), "Whether the last message is left open, without its end."),
        Parameter("tools", Tools(nested=True), "Tools that the model may call.", capability="tools"),
        generation.CHAT_TEMPLATE_KWARGS,
        USER,
        refused("chat_template", "the model's own chat template is used."),
        *refused_extras.MEDIA,
    ),
    rules=(check_source,),
)
DETOKENIZE_TABLE = Table(
    rows=(
        MODEL,
        Parameter("tokens", TokenIds(), "Token ids.", required=True, capability="tokenize"),
        USER,
    )
)


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The engine's body. A last message that is left open is not followed by an answer's beginning."""
    body = called_as_functions(parameters) | {"model": model_id}
    if body.get("continue_final_message"):
        body["add_generation_prompt"] = False
    return orjson.dumps(body)


TOKENIZE = Endpoint(
    path=TOKENIZE_ROUTE,
    summary="Tokenize",
    answer="The token ids, how many they are, and the model's context length.",
    content={
        "application/json": Component(
            "Tokens",
            record(
                {"count": INTEGER, "max_model_len": INTEGER, "tokens": array(INTEGER)},
                {"token_strs": nullable(array(STRING))},
            ),
        )
    },
    table=TABLE,
    example={"prompt": "Hello!"},
    counted=CountedFields(()),
    engine_body=engine_body,
    media_bytes=lambda request: media_bytes(request.get("messages")),
    images=images,
    audio=audio,
)
DETOKENIZE = Endpoint(
    path=DETOKENIZE_ROUTE,
    summary="Detokenize",
    answer="The text of the tokens.",
    content={"application/json": Component("Detokenized", record({"prompt": STRING}))},
    table=DETOKENIZE_TABLE,
    example={"tokens": [1, 2, 3]},
    counted=CountedFields(()),
    max_values=MAX_VALUES,
)
