"""A stateful Xero of our own over real HTTP, for a machine without a Xero account and for tests.

`sandbox.py` puts it together; each other file is one concern of Xero's (invoices, limits, webhooks …).
"""
