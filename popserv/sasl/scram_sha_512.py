"""SCRAM-SHA-512 (RFC 5802 with SHA-512)."""

from popserv.auth.scram_mechanism import Scram

plugin = Scram("sha512")
