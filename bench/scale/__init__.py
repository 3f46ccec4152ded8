"""The registry at size."""
