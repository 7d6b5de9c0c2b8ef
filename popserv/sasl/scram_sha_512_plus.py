"""SCRAM-SHA-512-PLUS (RFC 5802 with SHA-512) with channel binding."""

from popserv.auth.scram_mechanism import Scram

plugin = Scram("sha512", plus=True)
