#!/usr/bin/env bash
# The virus scan against a real clamd. Its database knows the EICAR test file and nothing else, so nothing is downloaded.
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/conformance/wide/debian.bash
debian clamd clamav-daemon clamav-base
work_dir

mkdir "$WORK/db"
.venv/bin/python - "$WORK/db/eicar.ndb" <<'PY'
import sys

eicar = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
with open(sys.argv[1], "w") as database:
    database.write(f"Eicar-Test-Signature:0:0:{eicar.encode().hex()}\n")
PY
port=$(free_port)
cat >"$WORK/clamd.conf" <<CONF
DatabaseDirectory $WORK/db
TCPAddr 127.0.0.1
TCPSocket $port
Foreground yes
StreamMaxLength 25M
MaxThreads 4
CONF
[ "$(id -u)" != 0 ] || echo "User root" >>"$WORK/clamd.conf"
clamd -c "$WORK/clamd.conf" >"$WORK/log" 2>&1 &
echo $! >>"$WORK/pids"
for _ in $(seq 200); do
    (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
done
BLOBKIT_CLAMD="tcp://127.0.0.1:$port" .venv/bin/python -m pytest -q tests/unit/quarantine/test_clamav.py || {
    cat "$WORK/log" >&2
    exit 1
}
