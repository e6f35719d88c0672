"""CDN links through the public API, beside botocore's CloudFrontSigner and the bare primitives that a signature consists of."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from benchmarks._measure import compare, report
from blobkit.cdn import Cdn
from blobkit_aws.cdn import CloudFront
from blobkit_cdns import Akamai, Bunny
from blobkit_gcs.cdn import CloudCdn

HOST = "d111111abcdef8.cloudfront.net"
PATH = "/videos/42/720p/segment-00001.ts"
LIFE = timedelta(minutes=15)
SEGMENTS = 5_000


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _signing(cdn: Cdn) -> Callable[[int], None]:
    def run(count: int) -> None:
        sign_url = cdn.sign_url
        for _ in range(count):
            sign_url(PATH, expires_in=LIFE)

    return run


def _calling(function: Callable[[bytes], bytes], message: bytes) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            function(message)

    return run


def _theirs(sign: Callable[[bytes], bytes]) -> Callable[[int], None]:
    signer = CloudFrontSigner("K2JCJMDEHXQW5F", sign)

    def run(count: int) -> None:
        for _ in range(count):
            end = datetime.now(UTC) + LIFE
            signer.generate_presigned_url(f"https://{HOST}{PATH}", date_less_than=end)

    return run


def main() -> None:
    """Print links a second, and the ratio to the bare primitive of each scheme."""
    message = b'{"Statement":[{"Resource":"https://d111111abcdef8.cloudfront.net/videos/42/720p/segment-00001.ts","Condition":{}}]}'
    elliptic, classic = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    ecdsa, pkcs1, sha256 = ec.ECDSA(hashes.SHA256()), padding.PKCS1v15(), hashes.SHA256()

    def bare_ecdsa(text: bytes) -> bytes:
        return elliptic.sign(text, ecdsa)

    def bare_rsa(text: bytes) -> bytes:
        return classic.sign(text, pkcs1, sha256)

    ours = {
        "ecdsa": CloudFront(HOST, {"K2JCJMDEHXQW5F": _pem(elliptic)}),
        "rsa": CloudFront(HOST, {"K2JCJMDEHXQW5F": _pem(classic)}),
    }
    report(
        "CloudFront, ECDSA P-256",
        compare(
            {
                "bare ECDSA": _calling(bare_ecdsa, message),
                "sign_url": _signing(ours["ecdsa"]),
                "botocore, the same key": _theirs(bare_ecdsa),
            },
            count=3_000,
        ),
    )
    report(
        "CloudFront, RSA-2048",
        compare(
            {
                "bare RSA": _calling(bare_rsa, message),
                "sign_url": _signing(ours["rsa"]),
                "botocore, the same key": _theirs(bare_rsa),
            },
            count=200,
        ),
    )
    report(
        "shared secrets",
        compare(
            {
                "bare HMAC-SHA256": _calling(lambda text: hmac.digest(b"0123456789abcdef", text, "sha256"), message),
                "Cloud CDN": _signing(CloudCdn("cdn.example", {"k1": b"0123456789abcdef"})),
                "bunny.net": _signing(Bunny("zone.b-cdn.net", "secret")),
                "Akamai": _signing(Akamai("media.example", "0123456789abcdef" * 4)),
            },
            count=20_000,
        ),
    )
    _prefixes(ours["ecdsa"])


def _prefixes(cdn: CloudFront) -> None:
    grant = cdn.sign_prefix("/videos/42/", expires_in=LIFE)
    lines = "".join(f"#EXTINF:4.000,\nsegment-{number:05}.ts\n" for number in range(SEGMENTS))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n{lines}#EXT-X-ENDLIST\n"

    def urls(count: int) -> None:
        url = grant.url
        for _ in range(count):
            url("720p/segment-00001.ts")

    def format_only(count: int) -> None:
        for _ in range(count):
            f"https://{HOST}/videos/42/{PATH}?{message}"

    def playlists(count: int) -> None:
        for _ in range(count // SEGMENTS or 1):
            cdn.sign_playlist(playlist, "/videos/42/720p/index.m3u8", prefix="/videos/42/", expires_in=LIFE)

    message = "x" * 300
    report(
        "one signature for a prefix",
        compare({"an f-string of that length": format_only, "sign_prefix(…).url(path)": urls}, count=200_000),
    )
    rates = compare({f"segments of a playlist of {SEGMENTS:,}": playlists}, count=SEGMENTS * 5)
    report("sign_playlist (HLS), by prefix", rates)
    (rate,) = rates.values()
    print(f"  one playlist of {SEGMENTS:,} segments: {SEGMENTS / rate.per_second * 1000:.1f} ms")


if __name__ == "__main__":
    main()
