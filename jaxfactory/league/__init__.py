"""Self-play: who acts in which seat of a match, past policies as opponents, ratings."""
