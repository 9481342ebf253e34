"""The Hugging Face Hub: publishing agents and downloading them."""
