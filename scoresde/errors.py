"""The three errors of our own; everything else is a TypeError (wrong kind of object) or a ValueError (wrong value or shape)."""

__all__ = ["NoMethod", "NotTrusted", "NotVerified"]


class NoMethod(NotImplementedError):
    """No exact method exists for this combination; the message names the one to use instead."""


class NotTrusted(ArithmeticError):
    """A number was computed, but its accuracy cannot be vouched for; the message says why and what to do."""


class NotVerified(AssertionError):
    """Raised by ``Claim.require()`` when the verdict is not the one demanded."""
