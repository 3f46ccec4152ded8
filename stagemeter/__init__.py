"""Meter the stages of a distillation pipeline."""
