"""Token issuers in the configuration: what is legal, which rule a token gets, and what `portico check` says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.__main__ import main
from app.config.service import parse_config
from app.tokens.issuer import TokenIssuer
from contract.fields import ConfigError
from tests.token_issuer import IssuerKey, issuing
from tests.unit.conftest import config_args

URL = "https://login.example.com/realms/acme"
RULES: list[dict[str, Any]] = [{}]


def entry(**changes: Any) -> dict[str, Any]:
    return {"issuer": URL, "audiences": ["portico"], "rules": RULES} | changes


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"issuer": "http://login.example.com"}, "must begin with https:// (http:// is legal on a loopback address"),
        ({"issuer": "login.example.com"}, "must begin with https://"),
        ({"issuer": "https://"}, "must name a host"),
        ({"issuer": "https://me:secret@login.example.com"}, "must name a host, and no user"),
        ({"issuer": f"{URL}?tenant=1"}, "must have no query"),
        ({"issuer": f"{URL}#keys"}, "and no fragment"),
        ({"jwks_url": "http://10.0.0.1/keys"}, "token_issuers[0].jwks_url: 'http://10.0.0.1/keys' must begin with"),
        ({"audiences": []}, "token_issuers[0].audiences: List should have at least 1 item"),
        ({"rules": []}, "token_issuers[0].rules: List should have at least 1 item"),
        ({"algorithms": ["none"]}, "'none' is never legal: whoever can check such a token can make one"),
        ({"algorithms": ["RS256", "HS256"]}, "'HS256' is never legal"),
        ({"algorithms": ["RS1"]}, "token_issuers[0].algorithms[0]: Input should be 'RS256'"),
        ({"algorithms": []}, "token_issuers[0].algorithms: List should have at least 1 item"),
        ({"clock_skew_s": 601}, "token_issuers[0].clock_skew_s: Input should be less than or equal to 600"),
        ({"clock_skew_s": -1}, "token_issuers[0].clock_skew_s: Input should be greater than or equal to 0"),
        ({"ca_file": "ca.pem"}, "'ca.pem' is neither an absolute path nor one in the project"),
        ({"jwks_refresh_s": 300, "jwks_max_age_s": 599}, "jwks_max_age_s must be at least twice jwks_refresh_s"),
        ({"rules": [{"claim": "groups"}]}, "rules[0]: `claim` and `value` stand together"),
        ({"rules": [{"value": "ml"}]}, "rules[0]: `claim` and `value` stand together"),
        ({"rules": [{"scopes": ["admin"]}]}, "rules[0]: `scopes` need a `claim`"),
        ({"rules": [{"pipelines": ["gamma"]}]}, f"rules[0] of {URL} names the model 'gamma', which is not in `models`"),
        ({"rules": [{"weight": 0}]}, "token_issuers[0].rules[0].weight: Input should be greater than"),
        ({"audience": "portico"}, "token_issuers[0].audience: there is no such field (did you mean audiences?)"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_entry_names_the_field_and_what_is_legal(changes: dict[str, Any], reported: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(config_args(token_issuers=[entry(**changes)]))
    assert reported in str(caught.value)


def test_an_issuer_stands_there_once() -> None:
    with pytest.raises(ConfigError, match=f"the id '{URL}' stands there twice"):
        parse_config(config_args(token_issuers=[entry(), entry()]))


def test_tokens_alone_are_enough_without_any_key() -> None:
    assert parse_config(config_args(keys=[], token_issuers=[entry()])).token_issuers[0].issuer == URL


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost/realms/a", "http://[::1]:8080"])
def test_on_loopback_an_issuer_needs_no_tls(url: str) -> None:
    assert TokenIssuer.model_validate(entry(issuer=url)).issuer == url


class TestARule:
    @pytest.mark.parametrize(
        ("claim", "value", "claims"),
        [
            ("groups", "ml", {"groups": ["web", "ml"]}),
            ("groups", "ml", {"groups": "ml"}),
            ("realm_access.roles", "ml", {"realm_access": {"roles": ["ml"]}}),
            ("https://acme.example/roles", "ml", {"https://acme.example/roles": ["ml"]}),
            ("scope", "models:use", {"scope": "openid models:use email"}),
            ("scp", "models.use", {"scp": "models.use"}),
            ("sub", "alice", {"sub": "alice"}),
        ],
    )
    def test_matches(self, claim: str, value: str, claims: dict[str, Any]) -> None:
        assert TokenIssuer.model_validate(entry(rules=[{"claim": claim, "value": value}])).rule_for(claims)

    @pytest.mark.parametrize(
        ("claim", "value", "claims"),
        [
            ("groups", "ml", {}),
            ("groups", "ml", {"groups": "html ml"}),
            ("groups", "ml", {"groups": ["ML", "xml", ["ml"], {"ml": 1}]}),
            ("groups", "ml", {"groups": {"ml": True}}),
            ("groups", "1", {"groups": 1}),
            ("groups", "", {"groups": None}),
            ("scope", "models", {"scope": "models:use"}),
            ("a.b", "ml", {"a": "b"}),
            ("a.b", "ml", {"a": {"b": "x"}, "b": "ml"}),
        ],
    )
    def test_does_not_match(self, claim: str, value: str, claims: dict[str, Any]) -> None:
        assert TokenIssuer.model_validate(entry(rules=[{"claim": claim, "value": value}])).rule_for(claims) is None

    def test_the_first_that_matches_decides(self) -> None:
        rules = [{"claim": "groups", "value": "ml", "weight": 4}, {"weight": 2}]
        issuer = TokenIssuer.model_validate(entry(rules=rules))
        for groups, weight in ((["ml"], 4), (["web"], 2)):
            rule = issuer.rule_for({"groups": groups})
            assert rule is not None
            assert rule.weight == weight


class TestCheck:
    def file(self, tmp_path: Path, **changes: Any) -> Path:
        model = {"id": "alpha", "task": "chat", "engine": "vllm", "source": "hub/alpha", "revision": "0" * 40}
        args = {"models": [model], "token_issuers": [entry(**changes)]}
        application = {"import_path": "app.builder:build", "args": args}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"http_options": {"host": "127.0.0.1"}, "applications": [application]}))
        return path

    def test_says_that_certificates_are_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(self.file(tmp_path, ca_file="/nowhere.pem"))]) == 2
        assert "token_issuers[0].ca_file: /nowhere.pem is not there" in capsys.readouterr().err

    def test_asks_an_issuer_only_when_told_to(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with issuing(IssuerKey.make("first"), IssuerKey.make("second", "EdDSA")) as issuer:
            path = self.file(tmp_path, issuer=issuer.url)
            assert main(["check", str(path)]) == 0
            assert issuer.asked == []
            assert main(["check", str(path), "--issuers"]) == 0
            assert f"{issuer.url} answers with 2 keys, for ES256, EdDSA" in capsys.readouterr().out

    def test_says_that_an_issuer_does_not_answer_with_keys(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with issuing() as issuer:
            issuer.failure = "500"
            assert main(["check", str(self.file(tmp_path, issuer=issuer.url)), "--issuers"]) == 2
            assert "/.well-known/openid-configuration answers 500; it must answer 200" in capsys.readouterr().err

    def test_says_that_its_keys_are_for_other_algorithms(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with issuing() as issuer:
            path = self.file(tmp_path, issuer=issuer.url, algorithms=["RS256"])
            assert main(["check", str(path), "--issuers"]) == 2
            assert "answers with no key for RS256; see `algorithms`" in capsys.readouterr().err
