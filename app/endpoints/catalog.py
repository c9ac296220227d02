"""The one list of all endpoints."""

from app.endpoints.chat import CHAT
from app.endpoints.completions import COMPLETIONS
from app.endpoints.embeddings import EMBEDDINGS
from app.endpoints.image_edits import EDITS, VARIATIONS
from app.endpoints.images import IMAGES
from app.endpoints.input_tokens import INPUT_TOKENS
from app.endpoints.messages import COUNT_TOKENS, MESSAGES
from app.endpoints.rerank import RERANK
from app.endpoints.responses import RESPONSES
from app.endpoints.score import SCORE
from app.endpoints.speech import SPEECH
from app.endpoints.tokenize import DETOKENIZE, TOKENIZE
from app.endpoints.transcriptions import TRANSCRIPTIONS
from app.endpoints.translations import TRANSLATIONS

ENDPOINTS = (
    CHAT,
    RESPONSES,
    INPUT_TOKENS,
    COMPLETIONS,
    TOKENIZE,
    DETOKENIZE,
    EMBEDDINGS,
    RERANK,
    SCORE,
    IMAGES,
    EDITS,
    VARIATIONS,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    SPEECH,
    MESSAGES,
    COUNT_TOKENS,
)
