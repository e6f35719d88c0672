"""Google Cloud Storage: the plugin ``gs``."""
