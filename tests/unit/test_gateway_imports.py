"""What a gateway replica loads: its memory matters, so nothing that its configuration does not need."""

import subprocess
import sys

from contract.project import PROJECT_FOLDER

OF_TOKENS = ["cryptography", "jwt"]  # where there are `token_issuers`
OF_TRACING = ["app.telemetry.tracer", "opentelemetry.exporter"]
OF_SOME_MODELS = ["tokenizers"]
OF_THE_LEDGER = ["psycopg", "sqlalchemy"]  # whose actor has one process for all of them
OF_COMMANDS = ["httpx2", "huggingface_hub", "openai", "typer"]
OPTIONAL = OF_TOKENS + OF_TRACING + OF_SOME_MODELS + OF_THE_LEDGER + OF_COMMANDS


def loaded_by(code: str) -> list[str]:
    """Which of them are there after `code`."""
    code += f"\nimport sys\nprint(*(name for name in {OPTIONAL} if name in sys.modules))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_FOLDER, check=True).stdout.split()


def test_a_gateway_replica_is_imported_without_what_only_some_configurations_need() -> None:
    assert loaded_by("import app.serving.ingress") == []


def test_cryptography_comes_with_the_first_issuer_of_tokens() -> None:
    begin = "from app.tokens.bearer import NoTokens, tokens_of\nfrom app.tokens.issuer import TokenIssuer\n"
    issuer = "TokenIssuer.model_validate({'issuer': 'https://issuer.example', 'audiences': ['here'], 'rules': [{}]})"
    assert loaded_by(f"{begin}tokens_of([], NoTokens(), lambda: None)") == []
    assert loaded_by(f"{begin}tokens_of([{issuer}], NoTokens(), lambda: None)") == OF_TOKENS
