"""Bytes that go to a server and come back whole."""
