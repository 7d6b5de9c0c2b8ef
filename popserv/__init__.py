"""popserv: a POP3 server on Twisted. The public names; everything else may move."""

from popserv._version import __version__

__all__ = ["POP3Factory", "__version__"]


def __getattr__(name: str) -> object:
    # Lazy, so that `import popserv` and the twistd plug-in stay cheap.
    if name == "POP3Factory":
        from popserv.protocols.pop3 import POP3Factory

        return POP3Factory
    raise AttributeError(f"module 'popserv' has no attribute {name!r}")
