"""Keys that break naive code, as data. Each is allowed everywhere, or fragile on some provider, or refused by all.

What HTTP stacks, URL parsers and providers do to such keys is measured, not guessed: stacks decode ``%7E``, collapse dot
segments and keep ``//``; form decoders turn ``+`` into a space; one provider strips a trailing dot.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["KEYS", "REFUSED_KEYS", "WeirdKey"]


class WeirdKey(NamedTuple):
    """A key and what it is called in test ids; ``fragile`` when a provider may refuse it with InvalidKey."""

    name: str
    key: str
    fragile: bool = False


KEYS: Final = (
    WeirdKey("plain", "a"),
    WeirdKey("space", "a b"),
    WeirdKey("plus", "a+b"),
    WeirdKey("plus-and-space", "a+b c"),
    WeirdKey("percent", "a%b"),
    WeirdKey("encoded-slash", "a%2Fb"),
    WeirdKey("encoded-space", "a%20b"),
    WeirdKey("encoded-percent", "a%2520b"),
    WeirdKey("encoded-dots", "a/%2E%2E/b"),
    WeirdKey("encoded-tilde", "%7Ea"),
    WeirdKey("tilde", "~x"),
    WeirdKey("leading-slash", "/a"),
    WeirdKey("two-leading-slashes", "//a"),
    WeirdKey("empty-segment", "a//b"),
    WeirdKey("trailing-slash", "a/"),
    WeirdKey("only-a-slash", "/"),
    WeirdKey("sub-delims", "!*'()"),
    WeirdKey("reserved", "#?&=;:@$,"),
    WeirdKey("question-mark", "a?b=c"),
    WeirdKey("fragment", "a#b"),
    WeirdKey("unwise", '"<>{}|^[]`'),
    WeirdKey("backslash", "a\\b", fragile=True),
    WeirdKey("accent-composed", "caf\u00e9"),
    WeirdKey("accent-decomposed", "cafe\u0301"),
    WeirdKey("cjk", "日本語/ファイル"),
    WeirdKey("emoji", "🎬/clip 🎉"),
    WeirdKey("rtl", "שלום/مرحبا"),
    WeirdKey("zero-width", "a\u200bb"),
    WeirdKey("non-breaking-space", "a\u00a0b"),
    WeirdKey("three-dots", "a/.../b"),
    WeirdKey("hidden", ".profile"),
    WeirdKey("hidden-inside", "a/.b"),
    WeirdKey("trailing-dot", "b.", fragile=True),
    WeirdKey("segment-ending-in-a-dot", "a./b", fragile=True),
    WeirdKey("trailing-space", "b ", fragile=True),
    WeirdKey("leading-space", " b", fragile=True),
    WeirdKey("leading-dash", "-x"),
    WeirdKey("device-name", "CON"),
    WeirdKey("upper-case", "CASE"),
    WeirdKey("lower-case", "case"),
    WeirdKey("query-in-key", "x?X-Amz-Signature=0&sig=0"),
    WeirdKey("url-in-key", "http://example.com/a"),
    WeirdKey("long-segment", "s" * 300, fragile=True),
)
"""Keys that go through sign, upload, list, stat, download and delete unchanged; together in one store they stay distinct."""

REFUSED_KEYS: Final = (
    WeirdKey("empty", ""),
    WeirdKey("dot", "."),
    WeirdKey("dot-dot", ".."),
    WeirdKey("dot-segment", "a/./b"),
    WeirdKey("dot-dot-segment", "a/../b"),
    WeirdKey("dot-dot-first", "../a"),
    WeirdKey("dot-dot-last", "a/.."),
    WeirdKey("newline", "a\nb"),
    WeirdKey("carriage-return", "a\rb"),
    WeirdKey("nul", "a\0b"),
    WeirdKey("escape", "a\x1bb"),
    WeirdKey("delete", "a\x7fb"),
    WeirdKey("c1-control", "a\x85b"),
    WeirdKey("line-separator", "a\u2028b"),
    WeirdKey("lone-surrogate", "a\ud800b"),
    WeirdKey("1025-bytes", "k" * 1025),
    WeirdKey("1026-bytes-in-342-characters", "日" * 342),
    WeirdKey("reserved", ".blobkit/staging/x"),
)
"""Keys that every verb refuses with InvalidKey, before any I/O."""
