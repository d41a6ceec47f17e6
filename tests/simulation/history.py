"""What processes did: every call with its end, and the tokens of every session."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from tests.simulation.schedules import Call
from tollhouse.sessions.outcomes import Issued, Rotation
from tollhouse.sessions.tokens import Token

Outcome = Literal["ok", "unavailable", "cancelled", "defect"]


class Chain:
    """The tokens of one session: a rotation begins a generation of them, a renewal adds to the one that it presented.

    Answers may come in another order than the server made them, but a rotation replaces the latest generation.
    """

    def __init__(self, first: Token) -> None:
        self.generations = [[first]]

    @property
    def latest(self) -> Token:
        """Return the token that clients are to hold."""
        return self.generations[-1][-1]

    @property
    def former(self) -> Token:
        """Return the last token before the last rotation; the latest if there was none."""
        return self.generations[-2 if len(self.generations) > 1 else -1][-1]

    @property
    def tokens(self) -> list[Token]:
        """Return all tokens, the first to be issued first."""
        return [token for generation in self.generations for token in generation]

    def generation(self, token: Token) -> int:
        """Return the number of rotations before a token was issued."""
        return next(number for number, tokens in enumerate(self.generations) if token in tokens)

    def rotate(self, token: Token) -> None:
        """Add the result of a rotation."""
        self.generations.append([token])

    def renew(self, presented: Token, token: Token) -> None:
        """Add the result of a renewal, unless another call had it already."""
        tokens = self.generations[self.generation(presented)]
        if token not in tokens:
            tokens.append(token)


class Done(Struct, frozen=True, kw_only=True):
    """A call that has ended: its times on the virtual clock, and its result, or the error's text."""

    process: int
    place: str = ""
    """The primary that the process used when the call ended."""
    call: Call
    began_s: float
    ended_s: float
    outcome: Outcome
    value: Any
    cut_off: bool = False
    """When it began, the process had been cut off from a majority of the Sentinels a moment ago, or still was."""
    token: Token | None = None
    """The token that was presented."""


class History:
    """The calls of all processes in the order of their ends, and the tokens of every session by its call."""

    def __init__(self) -> None:
        self.done: list[Done] = []
        self.chains: dict[int, Chain] = {}
        self.generations: list[tuple[int, int, str]] = []
        """Process, number and address of each generation that a process reported after a call."""
        self.adopted: list[tuple[int, str, float]] = []
        """Process, address and time of each generation, as far as a call was made in it."""

    def add(self, done: Done) -> None:
        """Add a call, and the token that it issued."""
        self.done.append(done)
        match done.value:
            case Issued():
                self.chains[done.call.number] = Chain(done.value.token)
            case Rotation() if done.call.verb == "rotate":
                self.chains[done.call.session].rotate(done.value.token)
            case Rotation():
                assert done.token is not None
                self.chains[done.call.session].renew(done.token, done.value.token)
            case _:
                pass


def told(done: Done) -> str:
    """Return a call and its end in a line."""
    call = done.call
    about = f" of #{call.session}" if call.session else ""
    return (
        f"#{call.number} {call.verb}{about} by process {done.process}, {done.began_s:.4f} to {done.ended_s:.4f} s:"
        f" {done.outcome} {shown(done.value)}"
    )


def shown(value: Any) -> str:
    """Return a result in a few words."""
    if isinstance(value, Issued | Rotation):
        return "durable" if value.durable else "not durable"
    if hasattr(value, "durable"):
        return repr(value)
    if hasattr(value, "device"):
        return f"alive, {value.device}"
    return f"{len(value)} sessions" if isinstance(value, tuple) else str(value)


def change_name(number: int) -> str:
    """Return the name of the value that a patch sets."""
    return f"call-{number}"


def user_name(number: int) -> str:
    """Return a user's id."""
    return f"user-{number}"


def device_of(number: int) -> str:
    """Return the device label of the session that a call creates: no other session has it."""
    return f"device of {number}"
