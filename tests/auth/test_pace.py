"""When answers are given that must not tell who has an account."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv import plugins
from popserv.auth.pace import (
    FORGET_SECONDS,
    HOLD_SECONDS,
    LEAST_SECONDS,
    MARGIN,
    MOST_KINDS,
    MOST_SECONDS,
    REMEMBERED,
    STEP,
    Pace,
    Paced,
)
from popserv.auth.scram_keys import ScramKeys
from popserv.auth.trail import Trail
from popserv.errors import MalformedResponse
from popserv.testing.talk import Talk


class Paces(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pace = Pace(self.clock)

    def answer(self, took: float, work: str = "", answer: str = "refusal", least: float = 0.0) -> float:
        """Seconds from the beginning at which an answer is given that took this long to find."""
        trail = Trail(work=work)
        self.pace.begin(trail)
        begun = self.clock.seconds()
        self.clock.advance(took)
        held: Deferred[None] = ensureDeferred(self.pace.hold(answer, trail, least))
        while not held.called:
            (call,) = self.clock.getDelayedCalls()
            self.clock.advance(call.getTime() - self.clock.seconds())
        self.successResultOf(held)
        return round(self.clock.seconds() - begun, 6)

    def test_SEC_003_a_cheap_refusal_waits_for_what_a_dear_one_takes(self) -> None:
        self.assertEqual(self.answer(0.03, "ARGON2ID"), LEAST_SECONDS)
        self.assertEqual(self.answer(0.001, "PLAIN"), LEAST_SECONDS)
        due = self.answer(0.1, "BLF-CRYPT")
        self.assertTrue(0.1 * MARGIN <= due <= 0.1 * MARGIN * STEP)
        self.assertEqual([self.answer(took, work) for took, work in ((0.03, "ARGON2ID"), (0.001, "PLAIN"))], [due] * 2)

    def test_SEC_003_one_kind_varies_without_a_trace(self) -> None:
        self.assertEqual({self.answer(took / 1000, "PLAIN") for took in range(1, 40)}, {LEAST_SECONDS})

    def test_challenges_wait_for_challenges_only(self) -> None:
        self.assertGreater(self.answer(0.2, answer="refusal"), 0.2)
        self.assertEqual(self.answer(0.001, answer="challenge"), LEAST_SECONDS)

    def test_a_rare_dear_kind_is_not_forgotten_among_many_cheap_ones(self) -> None:
        due = self.answer(0.2, "ARGON2ID")
        self.clock.advance(HOLD_SECONDS + 1)
        self.assertEqual({self.answer(0.001, "PLAIN") for _ in range(10 * REMEMBERED)}, {due})

    def test_a_kind_that_was_slow_is_fast_again_when_most_are_and_not_at_once(self) -> None:
        due = self.answer(1.0, "ARGON2ID")
        self.assertEqual({self.answer(0.03, "ARGON2ID") for _ in range(REMEMBERED)}, {due})
        self.clock.advance(HOLD_SECONDS + 1)
        self.assertEqual(self.answer(0.03, "ARGON2ID"), LEAST_SECONDS)

    def test_what_is_long_past_does_not_count(self) -> None:
        self.answer(0.2, "ARGON2ID")
        self.clock.advance(FORGET_SECONDS + 1)
        self.assertEqual(self.answer(0.001, "PLAIN"), LEAST_SECONDS)

    def test_nobody_waits_long_for_others(self) -> None:
        self.assertEqual(self.answer(60.0, "PAM"), 60.0)
        self.assertEqual(self.answer(0.001, "PLAIN"), MOST_SECONDS)

    def test_a_delay_counts_from_the_same_beginning(self) -> None:
        self.assertEqual(self.answer(0.03, least=2.0), 2.0)

    def test_an_answer_that_takes_no_time_is_not_held(self) -> None:
        self.assertEqual(self.answer(0.0), 0.0)

    def test_SEC_003_a_challenge_of_scram_waits_like_the_dearest(self) -> None:
        self.answer(0.2, answer="challenge")
        trail = Trail()
        self.pace.begin(trail)
        talk = Talk(b"n,,n=fred,r=abc", lambda _challenge: b"no final message")
        exchange = self.successResultOf(ensureDeferred(plugins.find("sasl", "scram-sha-256").authenticate(talk)))
        paced = Paced(talk, self.pace, trail)
        proof = ensureDeferred(
            attrs.evolve(exchange, trail=trail, conversation=paced).prove(ScramKeys.make(b"secret", "sha256"))
        )
        self.clock.advance(0.24)
        self.assertEqual(talk.challenges, [])
        self.clock.advance(0.02)
        self.assertEqual(len(talk.challenges), 1)
        self.failureResultOf(proof, MalformedResponse)
        # How long the client took for its answer does not count.
        self.assertEqual(trail.begun, self.clock.seconds())

    def test_kinds_are_bounded(self) -> None:
        self.answer(0.2, "first")
        for number in range(MOST_KINDS):
            self.answer(0.001, str(number))
        self.clock.advance(HOLD_SECONDS + 1)
        self.assertEqual(self.answer(0.001), LEAST_SECONDS)
