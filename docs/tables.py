"""Write the tables that the docs generate from the code: ``python docs/tables.py`` (``--check`` only compares).

A table stands between ``<!-- NAME -->`` and ``<!-- /… -->`` in a page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import blobkit
from blobkit import Constraint, Feature, Route
from blobkit.cdn import Restriction
from blobkit.plugins.bundled import CDNS
from blobkit.plugins.manager import find_cdn_plugin, find_store_plugin

ROOT = Path(__file__).resolve().parents[1]
_KEYS = {  # a table needs an open store, and that needs a key
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AZURE_STORAGE_KEY": "a" * 64,
}
_WORDS = {None: "?", False: "no"}


def enforcement(url: str) -> str:
    """Who enforces what on one store, as a Markdown table."""
    with blobkit.open_store(url, env=_KEYS) as store:
        capabilities = store.capabilities
    rows = ["| constraint | signed PUT | form POST | chunked session |", "| --- | --- | --- | --- |"]
    for constraint in Constraint:
        cells = [capabilities.enforcer(route, constraint) for route in (Route.PUT, Route.POST, Route.CHUNKED)]
        rows.append(f"| {constraint} | " + " | ".join(str(cell) if cell else _WORDS[cell] for cell in cells) + " |")
    return "\n".join(rows)


def features(url: str) -> str:
    """What one store can do, as a Markdown table."""
    with blobkit.open_store(url, env={}) as store:
        known = store.capabilities.features
    rows = ["| feature | there |", "| --- | --- |"]
    rows += [f"| {feature} | {'yes' if known.get(feature) else _WORDS[known.get(feature)]} |" for feature in Feature]
    return "\n".join(rows)


def options(scheme: str) -> str:
    """The options of a scheme, as a Markdown table."""
    rows = ["| option | default | |", "| --- | --- | --- |"]
    for option in find_store_plugin(scheme).options:
        choices = f" One of: {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""
        rows.append(f"| `{option.name}` | {f'`{option.default}`' if option.default else ''} | {option.doc}{choices} |")
    return "\n".join(rows)


_CDN_QUERY = {
    "cloudfront": "?key_pair_id=K1",
    "cloudcdn": "?key_name=k1",
    "mediacdn": "?key_name=k1",
    "cloudflare": "?ttl=3600",
    "frontdoor": "?account=acct",
}  # what a CDN needs beside its key
_CDN_KEYS = {"cloudcdn": b"k" * 16, "mediacdn": b"k" * 32, "akamai": b"k" * 16}


def cdn_matrix() -> str:
    """What every CDN of this distribution can do, as a Markdown table."""
    restrictions = list(Restriction)
    names = ["prefix", "cookies", "wildcards", *map(str, restrictions), "weak"]
    rows = [f"| CDN | {' | '.join(name.replace('_', ' ') for name in names)} |", "| --- |" + " --- |" * len(names)]
    for scheme in CDNS:
        with blobkit.open_cdn(
            f"{scheme}://cdn.example/{_CDN_QUERY.get(scheme, '')}", key=_cdn_key(scheme), env={}
        ) as cdn:
            able = cdn.capabilities
        cells = ["yes" if able.prefix else "", "yes" if able.cookies else ""]
        cells.append(" ".join(f"`{char}`" for char in able.wildcards))
        cells += ["yes" if restriction in able.restrictions else "" for restriction in restrictions]
        rows.append(f"| `{scheme}` | {' | '.join(cells)} | {able.weak or ''} |")
    return "\n".join(rows)


def _cdn_key(scheme: str) -> bytes:
    if scheme != "cloudfront":
        return _CDN_KEYS.get(scheme, b"key")
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def cdn_options() -> str:
    """The options of every CDN, as a Markdown table."""
    rows = ["| CDN | option | default | |", "| --- | --- | --- | --- |"]
    for scheme in CDNS:
        for option in find_cdn_plugin(scheme).options:
            choices = f" One of: {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""
            default = f"`{option.default}`" if option.default else ""
            rows.append(f"| `{scheme}` | `{option.name}` | {default} | {option.doc}{choices} |")
    return "\n".join(rows)


def diagram() -> str:
    """The states of an upload and the moves between them, as a Mermaid diagram."""
    from blobkit.tracking import states

    return f"```mermaid\n{states.diagram()}\n```"


def moves() -> str:
    """The same as a Markdown table."""
    from blobkit.tracking import states

    return states.table()


TABLES: dict[str, Callable[[], str]] = {
    "enforcement:local": lambda: enforcement("memory://tables"),
    "enforcement:s3": lambda: enforcement("s3://tables/?region=eu-west-1"),
    "enforcement:gcs": lambda: enforcement("gs://tables/?hmac_access_id=k&hmac_secret_env=AWS_SECRET_ACCESS_KEY"),
    "enforcement:azure": lambda: enforcement("az://account/tables/"),
    "enforcement:delegation": lambda: enforcement("az://account/tables/?identity=default"),
    "features:local": lambda: features("memory://tables"),
    "options:s3": lambda: options("s3"),
    "cdns:all": cdn_matrix,
    "cdnoptions:all": cdn_options,
    "options:gcs": lambda: options("gs"),
    "options:azure": lambda: options("az"),
    "states:diagram": diagram,
    "states:table": moves,
}


def render(text: str) -> str:
    """A page's text with its tables as the code has them now."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n{TABLES[match[1]]()}\n<!-- /{match[1]} -->"

    return re.sub(r"<!-- ([a-z]+:[a-z0-9]+) -->\n.*?<!-- /\1 -->", table, text, flags=re.DOTALL)


def main(check: bool) -> int:
    """Rewrite the pages; with ``check`` name those that are out of date and return 1."""
    stale = []
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        text = page.read_text()
        if (fresh := render(text)) != text:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(fresh)
    if stale:
        sys.stderr.write(f"{'out of date' if check else 'written'}: {', '.join(stale)}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
