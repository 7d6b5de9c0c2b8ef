"""SCRAM as somebody else understands it: for SHA-512, whose mechanism no RFC gives a vector of, and for the others."""

from __future__ import annotations

import pytest
from scramp import ScramClient, ScramMechanism
from twisted.internet.defer import Deferred, ensureDeferred

from popserv import plugins
from popserv.auth.names import prepare_password
from popserv.auth.scram_keys import ScramKeys
from popserv.testing.talk import Talk

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
PASSWORDS = ("pencil", "a, b = c", "Grüße", "I\u00adX", "\u2168")


@pytest.mark.parametrize("name", HASHES)
def test_SC_018_keys_are_the_same(name):
    made = ScramKeys.make(b"pencil", HASHES[name], 4096, b"0123456789abcdef")
    salt, stored_key, server_key, iterations = ScramMechanism(name).make_auth_info("pencil", 4096, made.salt)
    assert (made.salt, made.stored_key, made.server_key, made.iterations) == (salt, stored_key, server_key, iterations)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("name", HASHES)
def test_the_client_gets_in_and_believes_the_server(name, password):
    keys = ScramKeys.make(prepare_password(password.encode()), HASHES[name], 4096)
    client = ScramClient([name], "fr=e,d", password)
    accepted, proofs = converse(name, client, keys)
    assert accepted is True
    client.set_server_final(proofs[-1].decode())


@pytest.mark.parametrize("name", HASHES)
def test_the_client_with_another_password_does_not(name):
    accepted, proofs = converse(
        name, ScramClient([name], "fred", "paper"), ScramKeys.make(b"pencil", HASHES[name], 4096)
    )
    assert accepted is False
    assert len(proofs) == 1


def converse(name, client, keys):
    """Whether it gets in, and all challenges."""

    def respond(challenge):
        if challenge.startswith(b"v="):
            return b""
        client.set_server_first(challenge.decode())
        return client.get_client_final().encode()

    talk = Talk(client.get_client_first().encode(), respond)
    exchange = now(plugins.find("sasl", name).authenticate(talk))
    return now(exchange.prove(keys)), talk.challenges


def now(work):
    outcome = []
    finished: Deferred = ensureDeferred(work)
    finished.addCallback(outcome.append)
    (result,) = outcome
    return result
