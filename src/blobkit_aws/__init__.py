"""S3 and everything that speaks S3: signing, sessions and objects behind ``s3://bucket/prefix/?region=…``."""

from __future__ import annotations
