"""What every SASL mechanism has to hold to, as tests: mix `MechanismContract` into a trial ``SynchronousTestCase``."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from popserv.auth.chain import CheckerChain
from popserv.auth.login import LoggedIn, LoginService, Peer
from popserv.auth.realm import MaildropRealm
from popserv.errors import Cancelled, ConnectionGone, LoginRefused, PopError, SystemBroken, SystemTrouble
from popserv.interfaces import IChannel, IMechanism
from popserv.net.conversation import Conversation
from popserv.stores.memory import MemoryStore
from popserv.testing.accounts import MemoryAccounts
from popserv.testing.talk import MOST_CHALLENGES, Respond, Talk, TalkChannel, altered

_MARK = b"zebra"
"""Stands in no text of ours."""

# Each class that has this contract runs its tests by itself.
_inherited = settings(suppress_health_check=[HealthCheck.differing_executors])


class MechanismContract:
    """For a ``twisted.trial.unittest.SynchronousTestCase``::

        class MyMechanismTests(MechanismContract, SynchronousTestCase):
            mechanism = plugin

            def client(self, name, secret): ...

            def checker(self, accounts): ...

    Everything has to happen at once: what needs a pool gets a `popserv.pools.InlinePool`.
    """

    mechanism: ClassVar[Any]
    """The plug-in."""

    accounts: ClassVar[Mapping[str, bytes]] = {"fred": b"correct horse", "nora": b"battery staple"}
    """Secrets by prepared name."""

    def client(self, name: bytes, secret: bytes) -> Respond:
        """A client for one exchange: what it says to each challenge, its first message to an empty one."""
        raise NotImplementedError

    def checker(self, accounts: Mapping[str, bytes]) -> Any:
        """A checker that takes the mechanism's credentials and knows exactly these accounts."""
        raise NotImplementedError

    def channel(self) -> IChannel:
        """A connection on which the mechanism is usable."""
        return TalkChannel(data={"tls-exporter": b"e" * 32, "tls-server-end-point": b"h" * 32})

    # --- what it is

    def test_it_keeps_to_its_interface(self) -> None:
        mechanism = self.mechanism
        assert verifyObject(IMechanism, mechanism)
        assert re.fullmatch(rb"[A-Z0-9_-]{1,20}", mechanism.name)
        assert isinstance(mechanism.plaintext, bool)
        assert isinstance(mechanism.client_first, bool)

    def test_asking_whether_it_is_usable_changes_nothing(self) -> None:
        for channel in (TalkChannel(tls=""), TalkChannel(), TalkChannel(data={"tls-exporter": b"e" * 32})):
            answers = [self.mechanism.usable(channel) for _ in range(2)]
            assert answers in ([True, True], [False, False])
            assert channel.asked == []
        assert self.mechanism.usable(self.channel())

    # --- who gets in

    def test_the_right_secret_opens_the_maildrop(self) -> None:
        for name, secret in self.accounts.items():
            assert self._name(self._log_in(self.client(name.encode(), secret))) == name

    def test_the_name_is_prepared_for_the_look_up(self) -> None:
        assert self._name(self._log_in(self.client(b"Fred", self.accounts["fred"]))) == "fred"

    def test_an_initial_response_is_taken_where_it_is_promised(self) -> None:
        asked, given_first = (self._talk(self._fred()) for _ in range(2))
        if not self.mechanism.client_first:
            assert self._name(self._log_in_by(asked)) == "fred"
            assert asked.challenges[0] != b""
            return
        given_first.initial = given_first.respond(b"")
        assert self._name(self._log_in_by(asked)) == "fred"
        assert self._name(self._log_in_by(given_first)) == "fred"
        assert len(given_first.challenges) == len(asked.challenges) - 1

    def test_an_unknown_name_meets_what_a_wrong_secret_meets(self) -> None:
        met = []
        for name, secret in ((b"fred", b"wrong"), (b"otto", b"wrong"), (b"otto", self.accounts["fred"])):
            talk = self._talk(self.client(name, secret))
            error = self._error(self._log_in_by(talk))
            assert type(error) is LoginRefused
            met.append((error.text, [len(challenge) for challenge in talk.challenges]))
        assert met[1:] == met[:1] * 2

    def test_somebody_else_s_secret_is_wrong(self) -> None:
        assert type(self._error(self._log_in(self.client(b"fred", self.accounts["nora"])))) is LoginRefused

    def test_exchanges_at_the_same_time_do_not_know_each_other(self) -> None:
        running = [_Running(self, name) for name in self.accounts for _ in range(2)]
        for _ in range(MOST_CHALLENGES):
            for each in running:
                each.go_on()
        assert [self._name(*each.outcome) for each in running] == [name for name in self.accounts for _ in range(2)]

    # --- what it says

    def test_credentials_are_of_the_promised_kind_and_show_no_secret(self) -> None:
        said: list[bytes] = []
        talk = self._talk(_heard(self._fred(), said))
        credentials = self._at_once(self.mechanism.authenticate(talk))
        assert self.mechanism.credential.providedBy(credentials)
        for prepared in (credentials, credentials.prepared("fold"), credentials.prepared("keep")):
            shown = repr(prepared)
            for secret in self._forms(self.accounts["fred"], *said[-1:]):
                assert secret not in shown
            assert isinstance(prepared.username, bytes)
            assert isinstance(prepared.authorization, bytes)

    def test_cancelling_and_leaving_end_it_at_every_step(self) -> None:
        complete = self._talk(self._fred())
        assert self._name(self._log_in_by(complete)) == "fred"
        for step in range(len(complete.challenges)):
            for error in (Cancelled(), ConnectionGone()):
                respond = altered(self._fred(), step, partial(_throw, error))
                assert self._error(self._log_in(respond)) is error

    def test_nothing_that_a_client_says_comes_back(self) -> None:
        for step in range(4):
            for start, end in ((0, None), (0, 0), (5, 5), (-1, None), (300, None)):
                self._survives(altered(self._fred(), step, partial(_marked, start, end)))

    @_inherited
    @given(st.integers(0, 3), st.binary(max_size=300))
    def test_garbage_at_any_step_is_refused(self, step: int, garbage: bytes) -> None:
        self._survives(altered(self._fred(), step, lambda _right: garbage))

    @_inherited
    @given(st.integers(0, 3), st.integers(0, 200), st.integers(0, 40), st.binary(max_size=3))
    def test_a_damaged_answer_at_any_step_is_refused(self, step: int, start: int, cut: int, put: bytes) -> None:
        self._survives(altered(self._fred(), step, lambda right: right[:start] + put + right[start + cut :]))

    @_inherited
    @given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode), st.binary(max_size=100))
    def test_strange_names_and_secrets_are_refused(self, name: bytes, secret: bytes) -> None:
        try:
            respond = self.client(name, secret)
        except ValueError:
            return  # this client cannot say such a thing
        self._survives(altered(respond, -1, bytes))

    # --- what the tests are made of

    def _survives(self, respond: Respond) -> None:
        """Nobody but who they are gets in, nothing of ours breaks, and nothing of theirs comes back."""
        outcome = self._log_in(respond)
        if isinstance(outcome, LoggedIn):
            assert self._name(outcome) == "fred"
            return
        error = self._error(outcome)
        assert not isinstance(error, SystemTrouble | SystemBroken), repr(error)
        assert error.text.isascii() and error.text.isprintable()
        assert _MARK.decode() not in error.text

    def _fred(self) -> Respond:
        return self.client(b"fred", self.accounts["fred"])

    def _talk(self, respond: Respond) -> Talk:
        return Talk(None, respond, self.channel(), (self.mechanism.name,))

    def _log_in(self, respond: Respond) -> Any:
        return self._log_in_by(self._talk(respond))

    def _log_in_by(self, talk: Talk) -> Any:
        """A `LoggedIn`, or the `Exception` that it came to."""
        return self._at_once(self._whole(talk, self._service()))

    async def _whole(self, conversation: Any, service: LoginService) -> Any:
        credentials = await self.mechanism.authenticate(conversation)
        return await service.login(credentials, Peer("192.0.2.1", "s-1", mechanism=self.mechanism.name.decode("ascii")))

    def _service(self) -> LoginService:
        realm = MaildropRealm(MemoryAccounts(self.accounts), MemoryStore())
        return LoginService(Portal(realm, [CheckerChain([self._made()])]), clock=Clock())

    def _made(self) -> Any:
        """The checker, one for each test."""
        if self._checker is None:
            self._checker = self.checker(self.accounts)
        return self._checker

    _checker: Any = None

    def _at_once(self, work: Any) -> Any:
        outcome: list[Any] = []
        ensureDeferred(work).addBoth(outcome.append)
        assert outcome, "it does not happen at once"
        return outcome[0].value if isinstance(outcome[0], Failure) else outcome[0]

    def _name(self, outcome: Any) -> str:
        assert isinstance(outcome, LoggedIn), repr(outcome)
        self._at_once(outcome.leave())
        return outcome.name

    def _error(self, outcome: Any) -> PopError:
        assert isinstance(outcome, PopError), repr(outcome)
        return outcome

    @staticmethod
    def _forms(*secrets: bytes) -> list[str]:
        """How each could show; of a whole message, its end."""
        ends = [secret.strip(b"\0\1\r\n")[-12:] for secret in secrets]
        return [
            form for end in ends if len(end) > 8 for form in (end.decode("latin-1"), b64encode(end).decode(), end.hex())
        ]


def _marked(start: int, end: int | None, right: bytes) -> bytes:
    """The right answer with the mark in place of a part of it."""
    return right[:start] + _MARK + (b"" if end is None else right[end:])


def _throw(error: PopError, _right: bytes) -> bytes:
    raise error


def _heard(respond: Respond, said: list[bytes]) -> Respond:
    """The same client, whose answers are noted."""

    def answer(challenge: bytes) -> bytes:
        said.append(respond(challenge))
        return said[-1]

    return answer


class _Running:
    """An exchange of which one step happens at a time."""

    def __init__(self, contract: Any, name: str) -> None:
        self._respond = contract.client(name.encode(), contract.accounts[name])
        self._challenges: list[bytes] = []
        self._conversation = Conversation(
            None, self._challenges.append, contract.channel(), "localhost", (contract.mechanism.name,)
        )
        self.outcome: list[Any] = []
        work: Deferred[Any] = ensureDeferred(contract._whole(self._conversation, contract._service()))
        work.addBoth(self.outcome.append)

    def go_on(self) -> None:
        if self._challenges:
            self._conversation.answer(self._respond(self._challenges.pop(0)))
