"""Acting: the policy steps the pool and fills rollouts, in sync or async mode."""
