# POP3 under twistd, with an application's own portal: POP3_PORT=8110 twistd -ny examples/popserv.tac
import os
import sys

from twisted.application import service, strports
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal

from popserv import POP3Factory

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from embed import Realm  # noqa: E402 - the realm of the other example

application = service.Application("pop3")
portal = Portal(Realm(), [InMemoryUsernamePasswordDatabaseDontUse(fred=b"secret")])
endpoint = f"tcp:{os.environ.get('POP3_PORT', '8110')}:interface=127.0.0.1"
strports.service(endpoint, POP3Factory(portal, cleartext="loopback")).setServiceParent(application)
