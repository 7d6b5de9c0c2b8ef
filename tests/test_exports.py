"""The names that others build on, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import popserv
import popserv.interfaces

HEAVY = ("OpenSSL", "argon2", "cattrs", "click", "cryptography", "passlib", "service_identity", "sqlite3")


def test_public_names_of_popserv() -> None:
    assert sorted(popserv.__all__) == ["POP3Factory", "__version__"]
    assert all(getattr(popserv, name) is not None for name in popserv.__all__)


def test_public_names_of_interfaces() -> None:
    assert sorted(popserv.interfaces.__all__) == [
        "IAccount",
        "IAccountDirectory",
        "IAccounts",
        "IAuthorizes",
        "IBearerToken",
        "IBuildContext",
        "ICapable",
        "IChannel",
        "IClientCertificate",
        "IConversation",
        "IDatedMaildrop",
        "IDatedStore",
        "IDelivery",
        "IDummyCheck",
        "IHasFolders",
        "IImports",
        "IIncoming",
        "IInspects",
        "IKerberosExchange",
        "ILogin",
        "IMailProtocol",
        "IMaildrop",
        "IMaildropStore",
        "IMechanism",
        "IMessage",
        "IMessageReader",
        "INamesOnly",
        "INotesRetrievals",
        "IOurCredentials",
        "IPublicMaildrop",
        "IReadOnlyMaildrop",
        "IReadOnlyStore",
        "IReadyListings",
        "IRecognizes",
        "IScramCredentials",
        "IScramSha1",
        "IScramSha256",
        "IScramSha512",
        "ISessionObserver",
        "IStores",
        "ITended",
    ]
    assert all(hasattr(popserv.interfaces, name) for name in popserv.interfaces.__all__)


@pytest.mark.parametrize("module", ["popserv", "popserv.interfaces", "twisted.plugins.popserv_plugin"])
def test_importing_is_cheap_and_installs_no_reactor(module: str) -> None:
    program = f"import sys; import {module}; print('\\n'.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert module in loaded
    assert "twisted.internet.reactor" not in loaded
    assert {name for name in loaded if name.split(".")[0] in HEAVY} == set()


def test_importing_pulls_in_only_the_packages_of_the_contract() -> None:
    # What the three packages bring along themselves is theirs; the rest must be the standard library.
    program = """if True:
        import sys
        import attrs, twisted.application.service, zope.interface
        before = {name.split(".")[0] for name in sys.modules}
        import popserv, popserv.interfaces, twisted.plugins.popserv_plugin
        after = {name.split(".")[0] for name in sys.modules}
        print(*sorted(after - before - set(sys.stdlib_module_names)))
    """
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["popserv"]
