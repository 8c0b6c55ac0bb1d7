"""Settings of the server: the environment over a `.env` file, typed, frozen, unknown names refused."""

from preptime.settings.declared import ENV_FILE, Settings

__all__ = ["ENV_FILE", "Settings"]
