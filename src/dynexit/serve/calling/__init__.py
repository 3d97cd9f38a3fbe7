"""Tool calls: how clients ask for them, and how each family of chat templates writes them."""
