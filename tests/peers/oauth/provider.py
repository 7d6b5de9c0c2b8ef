"""The certified `oidc-provider` of npm on loopback, and somebody with a browser who gets tokens from it."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

import pytest
import trustme
from joserfc.jwk import RSAKey

from tests.peers.programs import Server, folder_of, free_port, program

VERSION = "8.8.1"
"""The newest one that runs on Node.js 18, which Debian 12 has, and on 20."""
SCRIPT = Path(__file__).parent / "provider.mjs"
AUDIENCE = "https://mail.example.org"
CALLBACK = "https://client.example/callback"
PROGRAM = {"client_id": "program", "client_secret": "of-the-program"}
"""The mail program that people get tokens for."""
SECRET = "of the service: %+/="
INSTALL_SECONDS = 240


def library() -> Path:
    """The provider's module, installed if it is not there; without npm the test is skipped, or fails."""
    program("node")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "popserv-tests" / f"oidc-provider-{VERSION}"
    module = folder / "node_modules" / "oidc-provider"
    done = folder / "installed"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [program("npm"), "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
        command += ["--no-package-lock", "--no-save", "--loglevel=error", f"oidc-provider@{VERSION}"]
        made = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=INSTALL_SECONDS
        )
        if made.returncode:
            stop = pytest.fail if os.environ.get("POPSERV_REQUIRE_PEERS") == "1" else pytest.skip
            stop(f"npm cannot install oidc-provider: {made.stdout[-500:]!r}")
        done.touch()
    return module / "lib" / "index.js"


class OidcProvider(Server):
    """A provider; `rotate` gives it another key to sign with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.issuer = f"https://127.0.0.1:{self.port}"
        self._seconds = 600
        self._keys: list[Any] = []
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        issued = authority.issue_cert("127.0.0.1")
        self._tls = {
            "cert": issued.cert_chain_pems[0].bytes().decode(),
            "key": issued.private_key_pem.bytes().decode(),
        }
        self.context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self._library = library()
        self.rotate()
        super().__init__(
            [program("node"), str(SCRIPT), str(folder / "settings.json")], self._answers, folder / "log", None
        )

    def rotate(self, seconds: int = 600) -> None:
        """Sign with a new key from the next start on, for tokens that last so long; the last old key stays known."""
        self._keys = [RSAKey.generate_key(2048, auto_kid=True), *self._keys[:1]]
        client = {**PROGRAM, "redirect_uris": [CALLBACK]}
        service = {
            "client_id": "popserv",
            "client_secret": SECRET,
            "redirect_uris": [],
            "response_types": [],
            "grant_types": [],
        }
        settings = {
            **self._tls,
            "library": str(self._library),
            "issuer": self.issuer,
            "port": self.port,
            "seconds": seconds,
            "clients": [client, service],
            "jwks": {"keys": [{**key.as_dict(private=True), "alg": "RS256", "use": "sig"} for key in self._keys]},
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))

    def _answers(self) -> bool:
        try:
            build_opener(HTTPSHandler(context=self.context)).open(
                self.issuer + "/.well-known/openid-configuration", timeout=5
            ).close()
        except (URLError, OSError):
            return False
        return True

    def token(self, account: str, *, resource: str = AUDIENCE, scope: str = "openid mail") -> str:
        """An access token of somebody who logs in with a browser and consents; a resource in …/opaque is no JWT."""
        browser = Browser(self)
        query = {"client_id": PROGRAM["client_id"], "response_type": "code", "redirect_uri": CALLBACK, "scope": scope}
        code = browser.authorize({**query, "resource": resource, "state": "x"}, account)
        grant = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "resource": resource}
        return browser.token(grant)


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        return None


class Browser:
    """One person's, new."""

    def __init__(self, provider: OidcProvider) -> None:
        self._issuer = provider.issuer
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()), HTTPSHandler(context=provider.context), _Stay())

    def authorize(self, query: dict[str, str], account: str) -> str:
        """Log in and consent: the code that the program gets."""
        address, page = self._follow(f"{self._issuer}/auth?{urlencode(query)}")
        for _step in range(3):
            if address.startswith(CALLBACK):
                break
            prompt = re.search(r'name="prompt" value="(\w+)"', page)
            assert prompt, page
            form = {"prompt": prompt[1], "login": account, "password": "any"}
            address, page = self._follow(address, form)
        answer = parse_qs(urlsplit(address).query)
        assert "code" in answer, address
        return answer["code"][0]

    def _follow(self, address: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """Where redirects lead to, as far as that is the provider, and what is there."""
        for _step in range(10):
            if address.startswith(CALLBACK):
                return address, ""
            data = urlencode(form).encode() if form is not None else None
            try:
                with self._opener.open(Request(address, data), timeout=10) as page:
                    return address, page.read().decode()
            except HTTPError as error:
                assert error.code in (302, 303), (error.code, error.read())
                address, form = urljoin(address, error.headers["location"]), None
        raise AssertionError("this leads nowhere")

    def token(self, grant: dict[str, str]) -> str:
        """What the program gets for its code."""
        pair = f"{PROGRAM['client_id']}:{PROGRAM['client_secret']}"
        headers = {"Authorization": "Basic " + b64encode(pair.encode()).decode()}
        request = Request(f"{self._issuer}/token", urlencode(grant).encode(), headers)
        try:
            with self._opener.open(request, timeout=10) as answer:
                return str(json.load(answer)["access_token"])
        except HTTPError as error:
            raise AssertionError(error.read()) from None


@contextmanager
def running() -> Iterator[OidcProvider]:
    """A new provider; it is gone at the end."""
    with folder_of(None) as folder:
        provider = OidcProvider(folder)
        try:
            provider.start()
            yield provider
        finally:
            provider.stop()
