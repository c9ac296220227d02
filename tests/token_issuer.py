"""An issuer of bearer tokens on this machine: a real HTTP server with discovery and real keys, which can fail."""

import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import get_default_algorithms

AUDIENCE = "portico"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
MAKERS: dict[str, Callable[[], PrivateKey]] = {
    "RS": lambda: rsa.generate_private_key(65537, 2048),
    "PS": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@dataclass
class IssuerKey:
    """One private key, and its line of the key set."""

    id: str | None
    algorithm: str
    private: PrivateKey

    @classmethod
    def make(cls, key_id: str | None, algorithm: str = "ES256") -> "IssuerKey":
        make = MAKERS[algorithm] if algorithm in MAKERS else MAKERS[algorithm[:2]]
        return cls(key_id, algorithm, make())

    def jwk(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key()))
        line |= {"alg": self.algorithm, "use": "sig"}
        return line if self.id is None else line | {"kid": self.id}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that leave are what some tests are about."""


class LocalIssuer:
    """What it serves is set while it runs. `failure` is one of: hang, trickle, garbage, huge, 500, redirect, array."""

    def __init__(self, *keys: IssuerKey, certificate: Path | None = None) -> None:
        self.keys = list(keys) or [IssuerKey.make("first")]
        self.failure: str | None = None
        self.discovery: dict[str, Any] = {}  # on top of what it says of itself
        self.asked: list[str] = []  # paths
        self.going_on = threading.Event()  # what hangs goes on
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = _Server(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}"

    def entry(self, **changes: Any) -> dict[str, Any]:
        """As the configuration names it: every token may use every model, with `changes` on top."""
        return {"issuer": self.url, "audiences": [AUDIENCE], "rules": [{}]} | changes

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Right ones, with `changes` on top; one that is None is left out."""
        now = int(time.time())
        right = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600}
        return {name: value for name, value in (right | changes).items() if value is not None}

    def token(self, key: IssuerKey | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        key = key or self.keys[0]
        headers = ({} if key.id is None else {"kid": key.id}) | (header or {})
        return jwt.encode(self.claims(**claims), key.private, algorithm=key.algorithm, headers=headers)

    def rotate(self, key_id: str, *, keep: bool = False) -> IssuerKey:
        """A new key, which signs from now on; the old ones go unless they are kept."""
        new = IssuerKey.make(key_id)
        self.keys = [new, *(self.keys if keep else ())]
        return new

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        body, status, headers = self._content(request.path), 200, {"content-type": "application/json"}
        match self.failure:
            case "hang":
                self.going_on.wait(30)
            case "garbage":
                body = b"<html>Please sign in</html>"
            case "array":
                body = b"[]"
            case "huge":
                body += b" " * (4 * 1024 * 1024)  # and right
            case "500":
                status, body = 500, b"{}"
            case "redirect" if request.path != "/elsewhere":
                status, headers = 302, {"location": f"{self.url}/elsewhere"}
            case "trickle":
                return self._trickle(request)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        return None

    def _trickle(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not self.going_on.wait(0.05):
            request.wfile.write(b" ")
            request.wfile.flush()

    def _content(self, path: str) -> bytes:
        if path.endswith("/.well-known/openid-configuration"):
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.discovery).encode()
        return json.dumps({"keys": [key.jwk() for key in self.keys]}).encode()


@contextmanager
def issuing(*keys: IssuerKey, certificate: Path | None = None) -> Iterator[LocalIssuer]:
    """A running issuer."""
    issuer = LocalIssuer(*keys, certificate=certificate)
    thread = threading.Thread(target=issuer.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield issuer
    finally:
        issuer.going_on.set()
        issuer.server.shutdown()
        issuer.server.server_close()
        thread.join()


def make_certificate(path: Path) -> Path:
    """A certificate for 127.0.0.1 that no system trusts, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local issuer")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path
