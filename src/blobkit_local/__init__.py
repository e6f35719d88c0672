"""The embedded store of blobkit: files and an SQLite index, and an HTTP data plane that verifies what the clouds verify."""
