"""Files by address, what a store's answers mean, and a model's folder: what Jobs and the collector share."""
