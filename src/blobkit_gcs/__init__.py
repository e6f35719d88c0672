"""Google Cloud Storage: the plugin ``gs``, and its events."""
