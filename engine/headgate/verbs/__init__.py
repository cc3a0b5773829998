"""Verbs: what each method does, as generators that yield calls and are sent replies. No I/O and no clock here."""
