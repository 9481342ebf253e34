"""The actor-critic network: encoder, recurrent core, action and value heads."""
