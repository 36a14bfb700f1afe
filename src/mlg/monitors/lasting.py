"""How long an incident lasts, real or only counted: one set of numbers for both."""

from typing import Final

QUIET: Final = 5
"""Windows without a signal, one after the other, after which an incident closes."""

AWAY: Final = 500
"""Windows of all requests without one of the streams that signalled, after which an incident
closes: the version that it is of answers no more. A canary's windows may be 200 apart."""

COOL_DOWN: Final = 20
"""Windows after an incident closed in which its statistics alone open no other at once."""
