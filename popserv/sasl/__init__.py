"""SASL mechanisms, one a file. Only plug-ins stand here: a module is found by its name and holds ``plugin``."""

from __future__ import annotations

from collections.abc import Iterable

from popserv import plugins

# Those with channel binding have to be named. A client that takes the strongest one by its name, and finds then that it
# cannot export what it is to bind to, does not come back: mutt 2.2 with libgsasl, for one.
DEFAULT = (
    "scram-sha-512",
    "scram-sha-256",
    "scram-sha-1",
    "external",
    "gssapi",
    "oauthbearer",
    "xoauth2",
    "plain",
)
"""What "default" means, in the order of the offer, as far as it is there."""


def names_of(configured: Iterable[str]) -> tuple[str, ...]:
    """`configured` in lower case and without repetitions, with "default" written out."""
    here = set(plugins.names("sasl"))
    named: dict[str, None] = {}
    for name in map(str.lower, configured):
        named |= dict.fromkeys([each for each in DEFAULT if each in here] if name == "default" else [name])
    return tuple(named)
