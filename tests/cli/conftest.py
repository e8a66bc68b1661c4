"""The server that hands out weights, for the tests of this folder."""

from weight_server import weight_server

__all__ = ["weight_server"]
