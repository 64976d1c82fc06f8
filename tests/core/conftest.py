"""The stores that the suites of `core.storage` share."""

from tests.stores import azurite_fixture, s3_server_fixture

__all__ = ["azurite_fixture", "s3_server_fixture"]
