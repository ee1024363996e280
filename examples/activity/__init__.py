"""Shoulder exercises from a smartwatch: one model, unseen subjects."""
