"""Exploration bonuses: rewards for new observations, and the networks behind them."""
