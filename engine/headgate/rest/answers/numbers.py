"""How a wallet is shown, wherever it is.

How much of the current usage is only held is said beside it, as `held` or `reserved`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from headgate.model.credits import Wallet
from headgate.model.decision import instant
from headgate.rest.shapes import Answer, Number
from headgate.service.numbers import renewal, standing


class CreditBalance(Answer):
    """A wallet as a call left it."""

    currency_id: str
    current_usage: Annotated[Number, Field(description="used of the live grants, beyond them, and held of them")]
    usage_limit: Annotated[Number, Field(description="what the live grants were given")]
    timestamp: Annotated[datetime, Field(description="the server's instant at which the wallet stood so")]
    usage_period_end: Annotated[datetime | None, Field(description="when the next recurring grant takes over")]

    @classmethod
    def of(cls, wallet: Wallet) -> Self:
        """Show a wallet."""
        return cls(
            currency_id=wallet.currency,
            current_usage=standing(wallet.used, wallet.held),
            usage_limit=wallet.granted,
            timestamp=instant(wallet.read_at_ms),
            usage_period_end=renewal(wallet),
        )
