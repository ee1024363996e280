"""Worked examples: two small trained models, their data, and the scripts that made both."""
