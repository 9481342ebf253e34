"""Searching settings with Optuna: the file, the study, its trials, its plots."""
