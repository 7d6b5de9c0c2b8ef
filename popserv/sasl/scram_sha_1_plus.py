"""SCRAM-SHA-1-PLUS (RFC 5802) with channel binding."""

from popserv.auth.scram_mechanism import Scram

plugin = Scram("sha1", plus=True)
