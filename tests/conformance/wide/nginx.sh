#!/usr/bin/env bash
# CDN links at a real edge: nginx checks secure_link itself, and CloudFront's and Cloud CDN's signatures in njs.
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/conformance/wide/debian.bash
debian nginx nginx-light libnginx-mod-http-js
MODULE=/usr/lib/nginx/modules/ngx_http_js_module.so
if [ ! -e "$MODULE" ]; then
    echo "LEFT OUT: nginx.sh needs $MODULE; on Debian, as root: apt-get install libnginx-mod-http-js" >&2
    exit 0
fi
work_dir

port=$(free_port)
.venv/bin/python - "$WORK" <<'PY'
import json
import sys
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from secrets import token_bytes

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa

work = Path(sys.argv[1])
private = {"RSA": rsa.generate_private_key(65537, 2048), "EC": ec.generate_private_key(ec.SECP256R1())}
secret = urlsafe_b64encode(token_bytes(16)).decode()
public = {}
for kind, key in private.items():
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (work / f"{kind}.pem").write_bytes(pem)
    spki = key.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    public[kind] = {"kind": kind, "spki": b64encode(spki).decode()}
(work / "cloudcdn.key").write_text(secret)
(work / "keys.js").write_text(f"export default {json.dumps({'cloudfront': public, 'cloudcdn': {'k1': secret}})};\n")
PY
mkdir "$WORK/tmp"
cat >"$WORK/nginx.conf" <<CONF
load_module $MODULE;
pid $WORK/nginx.pid;
error_log $WORK/error.log;
worker_processes 1;
$([ "$(id -u)" != 0 ] || echo "user root;")
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $WORK/tmp;
    large_client_header_buffers 4 32k;
    js_path $PWD/tests/conformance/wide/nginx;
    js_path $WORK;
    js_import edge from edge.js;
    server {
        listen 127.0.0.1:$port;
        location /cloudfront/ { js_content edge.cloudfront; }
        location /cloudcdn/ { js_content edge.cloudcdn; }
        location /link/ {
            secure_link \$arg_md5,\$arg_expires;
            secure_link_md5 "\$secure_link_expires\$uri the secret";
            if (\$secure_link = "") { return 403; }
            if (\$secure_link = "0") { return 410; }
            return 200;
        }
        location /address/ {
            secure_link \$arg_st,\$arg_e;
            secure_link_md5 "\$uri\$remote_addr\$secure_link_expires the secret";
            if (\$secure_link = "") { return 403; }
            if (\$secure_link = "0") { return 410; }
            return 200;
        }
    }
}
CONF
nginx -c "$WORK/nginx.conf" -p "$WORK" -g 'daemon off;' >"$WORK/log" 2>&1 &
echo $! >>"$WORK/pids"
for _ in $(seq 100); do
    (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
done
BLOBKIT_NGINX="http://127.0.0.1:$port" BLOBKIT_NGINX_KEYS="$WORK" .venv/bin/python -m pytest -q tests/conformance/test_nginx.py || {
    cat "$WORK/log" "$WORK/error.log" >&2
    exit 1
}
