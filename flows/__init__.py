"""Flows: say when and where. Every file of this package that runs a flow imports `flows.settings` first."""
