"""SCRAM-SHA-256-PLUS (RFC 7677) with channel binding."""

from popserv.auth.scram_mechanism import Scram

plugin = Scram("sha256", plus=True)
