#!/usr/bin/env bash
# The conformance suite, STS and the demo against Ceph's RADOS Gateway: real signatures, forms, multipart uploads, CORS.
# One node of everything, on loopback, in memory, without authentication between its own daemons.
#
#   rgw.sh                runs all of that
#   rgw.sh COMMAND ARG…   runs this command instead, at the top of the repository, with BLOBKIT_RGW naming the gateway and
#                         the keys of its user in the environment, and ends with the command's status:
#
#     BLOBKIT_SCHEDULES=1000 bash tests/conformance/wide/rgw.sh .venv/bin/python -m pytest tests/faults/test_transfers.py -k '[ceph]'
#     bash tests/conformance/wide/rgw.sh .venv/bin/python -m benchmarks transfer
#
# BLOBKIT_RGW_MEMORY: bytes that it may keep (4 GiB).
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/conformance/wide/debian.bash
debian radosgw radosgw ceph-mon ceph-osd ceph-mgr ceph-common
work_dir

monitor=$(free_port)
gateway=$(free_port)
export CEPH_CONF=$WORK/ceph.conf
mkdir -p "$WORK"/{mon,mgr,osd,rgw,run,log}
fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon_host = [v1:127.0.0.1:$monitor]
ms_bind_msgr2 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
public_network = 127.0.0.0/8
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 1
mon_data_avail_crit = 1
run_dir = $WORK/run
pid_file = $WORK/run/\$name.pid
admin_socket = $WORK/run/\$name.asok
log_file = $WORK/log/\$name.log
keyring = $WORK/keyring
setuser_match_path =
[mon]
mon_data = $WORK/mon
mon_cluster_log_file = $WORK/log/cluster.log
[mgr]
mgr_data = $WORK/mgr
mgr_initial_modules =
[osd]
osd_data = $WORK/osd
osd_objectstore = memstore
memstore_device_bytes = ${BLOBKIT_RGW_MEMORY:-4294967296}
osd_class_load_list = *
osd_class_default_list = *
# The daemon may tell its place before it knows the cluster, and then gives up: its place is given to it below.
osd_class_update_on_start = false
osd_crush_update_on_start = false
ms_initial_backoff = 0.05
[client.rgw.test]
rgw_data = $WORK/rgw
rgw_frontends = beast endpoint=127.0.0.1:$gateway
rgw_dns_name = localhost
rgw_thread_pool_size = 32
rgw_enable_apis = s3, sts, iam, admin, notifications
# It takes the password of a topic only over TLS, or what a proxy says was TLS.
rgw_trust_forwarded_https = true
rgw_s3_auth_use_sts = true
rgw_sts_key = abcdefghijklmnop
rgw_multipart_min_part_size = 5242880
# What was deleted is kept for two hours otherwise, and memory runs full: then every request waits for ever.
rgw_gc_obj_min_wait = 5
rgw_gc_processor_period = 5
rgw_gc_processor_max_time = 5
CONF

started() {
    "$@" >"$WORK/log/$1.out" 2>&1 &
    echo $! >>"$WORK/pids"
}
ceph-authtool --create-keyring "$WORK/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool "$WORK/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$monitor]" "$WORK/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$WORK/monmap" --keyring "$WORK/keyring" >/dev/null
started ceph-mon -i a --public-addr "127.0.0.1:$monitor" -f
started ceph-mgr -i x -f
osd=$(cat /proc/sys/kernel/random/uuid)
timeout 60 ceph --connect-timeout 30 osd new "$osd" 0 >/dev/null
timeout 60 ceph --connect-timeout 30 osd crush add osd.0 1.0 root=default host=local >/dev/null 2>&1
ceph-osd -i 0 --mkfs --osd-uuid "$osd" >"$WORK/log/mkfs.out" 2>&1
started ceph-osd -i 0 -f
started radosgw -n client.rgw.test -f
for _ in $(seq 300); do
    (: >"/dev/tcp/127.0.0.1/$gateway") 2>/dev/null && break
    sleep 0.2
done
for user in test stranger; do
    radosgw-admin user create --uid=$user --display-name=$user --access-key="${user}key" --secret-key="${user}secret" \
        --caps='roles=*;user-policy=*' >/dev/null 2>"$WORK/log/admin.out"
done

printf 'Ceph listens on port %s after %d s\n' "$gateway" "$SECONDS"
export BLOBKIT_RGW="http://127.0.0.1:$gateway"
if [ $# -gt 0 ]; then
    AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret "$@"
    exit
fi
tests="tests/conformance/test_rgw.py tests/conformance/test_rgw_only.py"
run() { .venv/bin/python -m pytest -q --numprocesses=auto --dist=worksteal $tests -k "$1"; }
run "not history"                                            # all of it, and STS
run "history and (version or complete or delete or absent)"  # what versions change

# trouble between clients and the gateway; what it pushes over HTTP when objects change, which is mostly waiting;
# and nothing is served but what the checks saw
.venv/bin/python -m pytest -q --numprocesses=auto \
    tests/conformance/test_events_rgw.py tests/faults/test_transfers.py tests/conformance/test_quarantine.py \
    -k "test_events_rgw or (test_transfers and ceph) or (test_quarantine and ceph and (off or passes))"

# the main job, on a store that is not ours
export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret
BLOBKIT_SEALING_KEYS="demo:$(head -c 32 /dev/urandom | base64)" \
    .venv/bin/blobkit demo --store "s3://media/demo/?profile=ceph&versioning=off&endpoint=$BLOBKIT_RGW"
