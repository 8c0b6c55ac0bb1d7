"""The keys that the settings name: who may ask."""

from __future__ import annotations

from preptime.keys import Keys, load_api_keys
from preptime.settings import Settings


def configured_api_keys(settings: Settings) -> Keys:
    """The keys that may ask; the operators' are read as well, so that a wrong one is found at the start.

    A server that answers Vertex AI alone needs none. Raises `UsageError`.
    """
    Keys.from_setting(settings.operator_keys, "PREPTIME_OPERATOR_KEYS")
    return load_api_keys(
        settings.api_keys,
        settings.aikey,
        loopback=settings.is_loopback,
        required=settings.vertex_predict_route is None,
    )
