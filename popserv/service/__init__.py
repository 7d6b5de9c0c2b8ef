"""Configuration and composition: the only place that knows everything."""
