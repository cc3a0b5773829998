from headgate import NotSupported, OfflineHeadgate

document = """{
    "customers": {
        "acme": {
            "entitlements": {
                "sso": {"type": "BOOLEAN"},
                "retention-days": {"type": "NUMERIC", "value": 30},
                "tokens": {"type": "METERED", "usageLimit": 1000},
                "regions": {"type": "ENUM", "enumValues": ["eu", "us"]}
            }
        }
    }
}"""

with OfflineHeadgate(document) as engine:
    print(engine.boolean_entitlement("acme", "sso"))
    print(engine.numeric_entitlement("acme", "retention-days"))
    print(engine.metered_entitlement("acme", "tokens", requested_usage=1_001))
    print(engine.enum_entitlement("acme", "regions", requested_values=["eu"]))
    try:
        engine.report("acme", feature="tokens", value=1)
    except NotSupported as error:
        print(error)
