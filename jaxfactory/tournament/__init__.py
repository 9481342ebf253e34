"""Round robins of agents: matches, ratings, and a page with the results."""
