"""The loop, the queue, the API server client, conditions, names, errors."""
