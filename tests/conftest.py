"""This file's place puts `tests/` on the import path: `from support.broker import Broker`."""
