"""The server that hands out files, for the tests of this folder."""

from file_server import file_server

__all__ = ["file_server"]
