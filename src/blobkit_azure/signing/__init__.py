"""Shared access signatures. Pure: keys, clock and request in, the same bytes out every time; no SDK.

:mod:`~blobkit_azure.signing.sas` writes them as Microsoft specifies them, :mod:`~blobkit_azure.signing.presign` many at a time,
:mod:`~blobkit_azure.signing.signer` is what a store signs with.
"""

from __future__ import annotations

from blobkit_azure.signing.sas import AccountGrant, AccountKey, DelegationKey, Grant, account_sas, service_sas

__all__ = ["AccountGrant", "AccountKey", "DelegationKey", "Grant", "account_sas", "service_sas"]
