# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A Redis service in containers that is swapped while it is written to. Sourced after scripts/lab.sh.
#   redis_image                      $LAB_REDIS, built once
#   redis_descriptor FILE HANDOVER   $redis_app.redis as a container, or in gVisor where that works, else as a process
#   redis_other                      the virtualization that it is not
#   redis_writes NAME RATE           in the background, until redis_stop; results in $LAB_DIR/NAME.json
#   redis_lost NAME                  how many acknowledged writes are not there
redis_vip=10.30.0.9 redis_app=shop

redis_image() {
	LAB_REDIS=$LAB_BUILD/images/redis.tar
	[ -e "$LAB_REDIS" ] || "$LAB_ROOT/scripts/mkimage-redis.sh" "$LAB_REDIS" >&2
}

redis_descriptor() {
	local other='{virtualization: "native", cmd: ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp", "--repl-diskless-sync-delay", "0"]}'
	! lab_weft status -o json | jq -e '.runtimes[] | select(.virtualization == "gvisor" and .usable)' >/dev/null ||
		other='{virtualization: "gvisor"}'
	REDIS=file://$LAB_REDIS VIP=$redis_vip APP=$redis_app jq -n --argjson handover "$2" '{
		sla_version: "v2.0", customerID: "lab", applications: [{
			application_name: env.APP, application_namespace: "default", microservices: [{
				microservice_name: "redis", microservice_namespace: "default",
				addresses: {rr_ip: env.VIP}, memory: 256, readiness: {type: "tcp", port: 6379, timeout_s: 60},
				virtualization: "container", code: env.REDIS, variants: ['"$other"'],
				handover: $handover, swap: {drain_s: 10}
			}]
		}]
	}' >"$1"
}

redis_other() {
	lab_weft service show "$redis_app.redis" -o json |
		jq -r '.active as $a | [.variants[].virtualization | select(. != $a)][0]'
}

redis_writes() {
	rm -f "$LAB_DIR/stop-writing"
	setsid nsenter --net="/run/netns/$LAB_NS" perl "$LAB_ROOT/tests/lib/redis-writer.pl" $redis_vip 6379 "$2" \
		"$LAB_DIR/$1.acked" "$LAB_DIR/stop-writing" >"$LAB_DIR/$1.json" 2>"$LAB_DIR/$1.err" </dev/null 7>&- &
	REDIS_WRITER=$!
}

redis_stop() {
	touch "$LAB_DIR/stop-writing"
	wait "$REDIS_WRITER"
}

redis_lost() {
	lab_in perl "$LAB_ROOT/tests/lib/redis-writer.pl" $redis_vip 6379 check "$LAB_DIR/$1.acked" | jq .lost
}
