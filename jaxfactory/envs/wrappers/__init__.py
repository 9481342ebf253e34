"""The Doom pool as Gymnasium environments, single and vectorized."""
