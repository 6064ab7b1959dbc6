"""Flows: say when and where. Importing this package makes Prefect's settings, before Prefect itself is imported."""

from flows import settings

settings.apply()
