"""Signature Version 4 for S3. Pure functions of keys, time and request: no SDK, no I/O, the clock is an argument.

======================  ==============================================================================================
module                  what it has
======================  ==============================================================================================
:mod:`.encoding`        the two encodings of RFC 3986 that Signature Version 4 is made of
:mod:`.endpoints`       where a bucket is: scheme, host and path
:mod:`.sigv4`           presigned URLs (query parameters), also of S3 Express
:mod:`.post`            form uploads (POST policy)
:mod:`.sigv4a`          presigned URLs of Multi-Region Access Points (ECDSA, no region in the scope)
:mod:`.shapes`          what a spec means as S3 headers and form fields
:mod:`.signer`          the Signer that a store uses: all of the above behind the core's interface
======================  ==============================================================================================
"""

from __future__ import annotations
