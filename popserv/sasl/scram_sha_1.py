"""SCRAM-SHA-1 (RFC 5802)."""

from popserv.auth.scram_mechanism import Scram

plugin = Scram("sha1")
