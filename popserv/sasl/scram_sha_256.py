"""SCRAM-SHA-256 (RFC 7677)."""

from popserv.auth.scram_mechanism import Scram

plugin = Scram("sha256")
