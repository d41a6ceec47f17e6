"""Accounts with second factors on a world, for the specifications of logins in two steps."""

from __future__ import annotations

import base64

from tests.accounts import HERE, RIGHT, Setup
from tollhouse.accounts.factors.outcomes import RecoveryCodesMade, TotpEnrolment
from tollhouse.accounts.factors.totp import STEP_MS, otp, step_at
from tollhouse.accounts.outcomes import SecondFactorDue


class Factors(Setup):
    """Accounts of a world, and what a user's app and the user do."""

    def __init__(self, world, **options):
        super().__init__(world, **options)
        self.world = world
        self.seed = b""
        self.codes = ()

    def code(self, steps=0):
        """Return the code that the app shows, or that of a later step."""
        return otp(self.seed, step_at(self.world.now_ms) + steps)

    def wrong_code(self):
        """Return a code that is none of the steps around now."""
        near = {self.code(steps) for steps in range(-2, 3)}
        return next(code for code in (f"{number:06}" for number in range(9)) if code not in near)

    async def enrolled(self, user="ada"):
        """Return a session of a new user who has added the factors, and whose last code was of an earlier step."""
        await self.sign_up(user)
        session = (await self.login(user)).issued.session
        await self.enrolled_in(session)
        issued = await self.log_in_twice(user)
        made = await self.accounts.factors.new_recovery_codes(issued.session)
        assert isinstance(made, RecoveryCodesMade)
        self.codes = made.codes
        await self.world.advance(STEP_MS)
        return issued.session

    async def enrolled_in(self, session):
        """Add one-time passwords in a session, and wait until the code that confirmed them is over."""
        enrolment = await self.accounts.factors.begin_totp(session)
        assert isinstance(enrolment, TotpEnrolment)
        self.seed = base64.b32decode(enrolment.secret)
        confirmed = await self.accounts.factors.confirm_totp(session, self.code())
        assert isinstance(confirmed, RecoveryCodesMade)
        await self.world.advance(STEP_MS)

    async def due(self, user="ada", **options):
        """Return the answer to a right password."""
        answer = await self.login(user, RIGHT, **options)
        assert isinstance(answer, SecondFactorDue)
        return answer

    async def second(self, ticket, code=None, factor="totp", address=HERE, **options):
        """Return the answer to a code, by default that of now."""
        code = self.code() if code is None else code
        return await self.accounts.login_by_code(ticket, factor, code, address=address, **options)

    async def log_in_twice(self, user="ada", **options):
        """Return what a login by both factors issued."""
        answer = await self.second((await self.due(user, **options)).ticket)
        assert answer, answer
        return answer.issued
