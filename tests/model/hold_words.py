"""What the state machine of reservations draws from: few ids and small limits, so that what is held is in the way."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from model.commerce_words import ADDONS, CREDITS, PLANS, SITE
from model.vocabulary import DAY_MS, HOUR_MS, MINUTE_MS, SEATS, SINGLE_SIGN_ON, TOKENS

WEEK_MS = 7 * DAY_MS
PLAN, RESERVE_PLAN, ADDON = PLANS[0], PLANS[1], ADDONS[0]
UNKNOWN = "hold-none"

amounts = st.sampled_from((0, 1, 1, 2, 2, 3, 3, 5, 5, 8, 8, 13, 20, 0.1, 0.3, 2.5, 0.00001))
corrections = st.sampled_from((-1, -2, -5, -0.1, -20))
what: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    (
        *({"feature": TOKENS},) * 8,
        *({"feature": TOKENS, "resource": SITE},) * 2,
        *({"feature": SEATS},) * 2,
        *({"currency": CREDITS},) * 5,
        {"currency": CREDITS, "resource": SITE},
    )
)
what_is_none: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    (
        {"feature": "feature-none"},
        {"feature": SINGLE_SIGN_ON},
        {"currency": "currency-none"},
        {"feature": TOKENS, "resource": "site-none"},
    )
)
dimensions = st.sampled_from(
    (
        *(None, {"teamId": "team-1"}),
        *({"userId": "user-1"},) * 3,
        *({"userId": "user-1", "modelId": "model-1"}, {"teamId": "team-1", "userId": "user-1"}),
        {"teamId": "team-2", "ownerId": "team-2"},
    )
)
lasts_s = st.sampled_from((None, None, 1, 1.5, 60, 60, 600, 3_600, 86_400, 86_400))
metadata = st.sampled_from((None, None, {"trace": "a"}))
shares = st.sampled_from((0, 0.5, 0.5, 1, 1, 1, 2))
"""Of what is held: how much of it was used."""

others = st.sampled_from(({"amount": 7}, {"expires_in": 61}, {"metadata": {"trace": "b"}}, {"feature": SEATS}))
places = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, 8))
"""Places among what was made, the last first."""

steps_ms = st.sampled_from((1, 999, MINUTE_MS, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, HOUR_MS, DAY_MS, WEEK_MS))
rates = st.sampled_from((None, 1, 1, 0.1, 2.5))
limits = st.sampled_from((5, 10, 20, 50))
budgets: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda of, entity, limit, cadence: {**of, "entity": entity, "usage_limit": limit, "cadence": cadence},
    st.sampled_from(({"feature": TOKENS}, {"feature": TOKENS}, {"feature": SEATS}, {"currency": CREDITS})),
    st.sampled_from(("user-1", "user-1", "team-1", "team-2", "org-1")),
    st.sampled_from((None, 0, 3, 10, 10, 30)),
    st.sampled_from(("PT1M", "PT1H", "PT1H", "P1D", "P1M")),
)
