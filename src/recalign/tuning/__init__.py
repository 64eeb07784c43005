"""Stages of tuning: samples, a parent adapter and a config in, an adapter out."""
