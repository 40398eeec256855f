"""The recipes that come with the kit, as JSON. Read by `quantization.recipe`."""
