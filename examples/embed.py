"""POP3 for an application's own realm and checkers: ``python examples/embed.py PORT``, then log in as fred, secret."""

import sys
from io import BytesIO

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import endpoints, reactor
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from popserv import POP3Factory


@implementer(IMailboxPOP3)
class Mailbox:
    """The application's mail: here, one message."""

    messages = [b"Subject: hello\r\n\r\nfrom the application\r\n"]

    def listMessages(self, index=None):
        sizes = [len(message) for message in self.messages]
        return sizes if index is None else sizes[index]

    def getMessage(self, index):
        return BytesIO(self.messages[index])

    def getUidl(self, index):
        return b"message-%d" % index

    def deleteMessage(self, index):
        print("delete", index)

    def undeleteMessages(self):
        pass

    def sync(self):
        pass


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatar_id, mind, *interfaces):
        return IMailboxPOP3, Mailbox(), lambda: None


# The eight lines that make it a POP3 server:
def serve(port):
    portal = Portal(Realm())
    portal.registerChecker(InMemoryUsernamePasswordDatabaseDontUse(fred=b"secret"))
    factory = POP3Factory(portal, cleartext="loopback")
    endpoint = endpoints.serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
    endpoint.listen(factory).addCallback(lambda listening: print(listening.getHost().port, flush=True))
    reactor.run()


if __name__ == "__main__":
    serve(sys.argv[1])
