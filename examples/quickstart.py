from headgate import Headgate, Policy

tokens = {"type": "NUMBER", "meter": "INCREMENTAL"}
team = {"type": "team", "budgets": [{"feature": "tokens", "limit": 2_000, "every": "P1D"}]}
acme = {"entitlements": {"tokens": {"limit": 9_000, "reset": "MONTH"}}, "entities": {"team-eng": team}}
policy = {"features": {"tokens": tokens}, "entity_types": {"team": {"keys": ["teamId"]}}, "customers": {"acme": acme}}

with Headgate.connect("embedded://") as engine:
    engine.apply(Policy.parse(policy))
    for amount in (1_250, 1_250):
        print(engine.consume("acme", feature="tokens", amount=amount, dimensions={"teamId": "team-eng"}))
