"""``twistd popserv``."""

from twisted.application.service import ServiceMaker

popserv = ServiceMaker(  # type: ignore[no-untyped-call]
    "popserv", "popserv.tap", "A POP3 server that never loses or misreports a message", "popserv"
)
