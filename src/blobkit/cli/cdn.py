"""``blobkit cdn``: sign links, prefixes, cookies and playlists for a CDN, and say why an edge would refuse one.

What grants access goes to stdout, alone; what is to be known of it to stderr.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypedDict

import typer

from blobkit.cli.exitcodes import REFUSED
from blobkit.cli.options import Expires, expiry
from blobkit.cli.output import printable
from blobkit.cli.running import Run, command
from blobkit.errors import InvalidArgument

if TYPE_CHECKING:
    from datetime import timedelta

    from blobkit.cdn.base import Cdn
    from blobkit.cdn.model import Restrictions, SignedCookie

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Links, prefixes, cookies and playlists of a CDN.")

_RESTRICTIONS: Final = "Restrictions"

CdnWord: TypeAlias = Annotated[
    str, typer.Argument(metavar="CDN", help="A configured CDN's NAME, or a CDN-URL.", show_default=False)
]
NotBefore: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--not-before", metavar="TIME", help="When it begins: 2026-03-01T12:00:00Z.", rich_help_panel=_RESTRICTIONS
    ),
]
Ip: TypeAlias = Annotated[
    str | None, typer.Option("--ip", metavar="IP", help="The only address or range.", rich_help_panel=_RESTRICTIONS)
]
Countries: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--country", metavar="CC", help="Only from there; may be repeated.", rich_help_panel=_RESTRICTIONS),
]


class _Asked(TypedDict):
    expires_in: timedelta | None
    not_before: datetime | None
    ip: str | None
    restrict: Restrictions | None


@app.command("sign-url")
@command
def sign_url(
    run: Run,
    cdn: CdnWord,
    url: Annotated[str, typer.Argument(metavar="URL", help="A path, or a URL of the CDN.")],
    expires: Expires = None,
    not_before: NotBefore = None,
    ip: Ip = None,
    country: Countries = None,
) -> None:
    """A link to one URL."""
    opened = run.cdn(cdn)
    _show_url(run, opened, opened.sign_url(url, **_asked(expires, not_before, ip, country)).reveal())


@app.command("sign-key")
@command
def sign_key(
    run: Run,
    cdn: CdnWord,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key of the store behind the CDN.")],
    expires: Expires = None,
    not_before: NotBefore = None,
    ip: Ip = None,
    country: Countries = None,
) -> None:
    """A link to one object: prefix, origin path and encoding are seen to."""
    opened = run.cdn(cdn)
    _show_url(run, opened, opened.sign_key(key, **_asked(expires, not_before, ip, country)).reveal())


@app.command("sign-prefix")
@command
def sign_prefix(
    run: Run,
    cdn: CdnWord,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="/videos/42/, or a pattern where the CDN has them.")],
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="Links to these, below it.")] = None,
    expires: Expires = None,
    not_before: NotBefore = None,
    ip: Ip = None,
    country: Countries = None,
) -> None:
    """One signature for everything below a path: the links of PATHs, or what to add to any URL there."""
    grant = run.cdn(cdn).sign_prefix(prefix, **_asked(expires, not_before, ip, country))
    query = grant.query
    links = [grant.url(path).reveal() for path in paths or ()]
    if run.out.json:
        run.out.value(
            {
                "prefix": grant.prefix,
                "base": grant.base.reveal(),
                "query": None if query is None else query.reveal(),
                "urls": links,
                "expires_at": _iso(grant.expires_at),
            }
        )
        return
    for line in links or [grant.base.reveal() if query is None else f"?{query.reveal()}"]:
        run.out.line(line)
    run.out.note(f"covers {printable(grant.prefix)} until {_iso(grant.expires_at)}")


@app.command("sign-cookies")
@command
def sign_cookies(
    run: Run,
    cdn: CdnWord,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="/videos/42/")],
    domain: Annotated[
        str | None, typer.Option("--domain", metavar="DOMAIN", help="Domain: one that your service and the CDN share.")
    ] = None,
    expires: Expires = None,
    not_before: NotBefore = None,
    ip: Ip = None,
    country: Countries = None,
) -> None:
    """Cookies for everything below a path: a Set-Cookie header on each line."""
    cookies = run.cdn(cdn).sign_cookies(prefix, domain=domain, **_asked(expires, not_before, ip, country))
    if run.out.json:
        run.out.value([{**cookie.as_dict(), "header": cookie.header().reveal()} for cookie in cookies])
        return
    for cookie in cookies:
        run.out.line(_header(cookie))


@app.command("sign-playlist")
@command
def sign_playlist(
    run: Run,
    cdn: CdnWord,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="An HLS playlist or DASH manifest; - for standard input.")
    ],
    base: Annotated[str, typer.Argument(metavar="BASE-URL", help="Where it is: a path, or a URL of the CDN.")],
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", metavar="PREFIX", help="What one signature covers (default: its directory)."),
    ] = None,
    expires: Expires = None,
    not_before: NotBefore = None,
    ip: Ip = None,
    country: Countries = None,
) -> None:
    """The playlist with its URIs signed."""
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    signed = run.cdn(cdn).sign_playlist(text, base, prefix=prefix, **_asked(expires, not_before, ip, country))
    if run.out.json:
        run.out.value({"playlist": signed})
    else:
        run.out.line(signed.removesuffix("\n"))


@app.command()
@command
def verify(
    run: Run,
    cdn: CdnWord,
    url: Annotated[str, typer.Argument(metavar="URL", help="A signed link; with --cookie what is asked for.")],
    cookie: Annotated[
        list[str] | None,
        typer.Option("--cookie", metavar="NAME=VALUE", help="A cookie that the client has; may be repeated."),
    ] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="When (default: now).")] = None,
    ip: Annotated[str | None, typer.Option("--ip", metavar="IP", help="The client's address.")] = None,
    country: Annotated[str | None, typer.Option("--country", metavar="CC", help="The client's country.")] = None,
) -> None:
    """Whether the edge lets it through, and why not: exit status 0, or 6."""
    opened = run.cdn(cdn)
    when = None if at is None else _time(at)
    jar = dict(_pair(text) for text in cookie or ())
    if jar:
        verdict = opened.verify(jar, url=url, at=when, ip=ip, country=country)
    else:
        verdict = opened.verify(url, at=when, ip=ip, country=country)
    expires = None if verdict.expires_at is None else _iso(verdict.expires_at)
    if run.out.json:
        run.out.value({"ok": bool(verdict), "reason": verdict.reason, "detail": verdict.detail, "expires_at": expires})
    elif verdict:
        run.out.line(f"let through, until {expires}")
    else:
        run.out.line(f"refused ({verdict.reason}): {printable(verdict.detail)}")
    if not verdict:
        raise typer.Exit(REFUSED)


def _asked(expires: str | None, not_before: str | None, ip: str | None, countries: list[str] | None) -> _Asked:
    from blobkit.cdn.model import Restrictions

    return {
        "expires_in": expiry(expires),
        "not_before": None if not_before is None else _time(not_before),
        "ip": ip,
        "restrict": Restrictions(countries=tuple(countries)) if countries else None,
    }


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(f"not a time: {text!r}", hint="2026-03-01T12:00:00Z") from error
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument("a cookie is NAME=VALUE")
    return name, value


def _header(cookie: SignedCookie) -> str:
    return f"Set-Cookie: {cookie.header().reveal()}"


def _show_url(run: Run, cdn: Cdn, url: str) -> None:
    expires = cdn.verify(url).expires_at
    if run.out.json:
        run.out.value({"url": url, "expires_at": None if expires is None else _iso(expires)})
        return
    run.out.line(url)
    if expires is not None:
        run.out.note(f"until {_iso(expires)}")
    if (weak := cdn.capabilities.weak) is not None:
        run.out.note(f"weak: {weak}")


def _iso(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")
