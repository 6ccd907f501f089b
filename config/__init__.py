"""Everything that may differ between two deployments, read once: `load()` gives `Settings`."""

from config.loader import ConfigError, Environment, Pipeline, Settings, load

__all__ = ["ConfigError", "Environment", "Pipeline", "Settings", "load"]
