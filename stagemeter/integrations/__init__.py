"""Meters for training frameworks. Each module needs the framework it is for, and nothing else imports it."""
