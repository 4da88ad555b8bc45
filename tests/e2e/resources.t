#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Resources have versions: who changes what somebody else has changed is told, and who watches hears
# of each change from where he was.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl nginx; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
for c in weftd weft; do [ -e "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
lab_open e2e-resources
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf

ask() { curl -s --max-time 20 --unix-socket "$LAB_SOCKET" "$@"; } # PATH at localhost, and flags
get() { ask "http://localhost$1"; }
field() { get "$1" | jq -r "$2"; }
status_of() { ask -o /dev/null -w '%{http_code}' "$@"; }
running() { [ "$(field "/v1/services/$1" .phase)" = running ]; }
last_event() { get /v1/events | jq .last; }
apply() { lab_weft apply -f "$LAB_DIR/$1.json"; }

starts() {
	descriptor shop.web 2 && descriptor shop.db 1 && lab_weftd && apply shop.web && apply shop.db &&
		wait_for 60 running shop.web && wait_for 60 running shop.db
}

# --- versions

all_have_one() {
	local kind
	ask -d '{"name": "b", "address": "192.0.2.9"}' http://localhost/v1/peers >/dev/null
	for kind in services instances peers; do
		get "/v1/$kind" | jq -e '.items | length > 0 and all(.version > 0)' || return 1
	done
}
equals_last_event() { # of what has been quiet for a while
	local last
	last=$(get /v1/events | jq '[.items[] | select(.object == "shop.db.1" or .data.weights["shop.db.1"])][-1].seq')
	same 'version' "$last" "$(field /v1/instances/shop.db.1 .version)" &&
		same 'ETag' "\"$last\"" "$(ask -D - -o /dev/null http://localhost/v1/instances/shop.db.1 |
			tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')"
}
grows() {
	local before other
	before=$(field /v1/services/shop.web .version)
	other=$(field /v1/services/shop.db .version)
	lab_weft service weights shop.web 1=10 2=30 >/dev/null || return 1
	[ "$(field /v1/services/shop.web .version)" -gt "$before" ] &&
		same 'weights' '10 30' "$(field /v1/services/shop.web '.weights | "\(.["shop.web.1"]) \(.["shop.web.2"])"')" &&
		[ "$(field /v1/instances/shop.web.1 .version)" -gt "$before" ] &&
		same "the other's" "$other" "$(field /v1/services/shop.db .version)"
}
conflicts() {
	local old new answer
	old=$(field /v1/services/shop.web .wanted_version)
	lab_weft service scale shop.web 3 >/dev/null || return 1
	new=$(field /v1/services/shop.web .wanted_version)
	[ "$new" -gt "$old" ] || return 1
	answer=$(ask -H "If-Match: \"$old\"" -d '{"replicas": 1}' http://localhost/v1/services/shop.web/scale)
	echo "$answer"
	has "$answer" conflict "version $old" "it has $new" &&
		same 'status' 409 "$(status_of -X DELETE -H "If-Match: $old" http://localhost/v1/services/shop.web)" &&
		same 'replicas' 3 "$(field /v1/services/shop.web .replicas)" &&
		same 'status' 200 "$(status_of -H "If-Match: \"$new\"" -d '{"replicas": 2}' http://localhost/v1/services/shop.web/scale)" &&
		same 'replicas' 2 "$(field /v1/services/shop.web .replicas)"
}
not_by_itself() { # what weft does by itself is no conflict with what somebody wants
	local version
	wait_for 60 running shop.web || return 1
	version=$(field /v1/services/shop.web .version)
	kill -9 "$(field /v1/instances/shop.web.1 .pid)"
	wait_for 60 grown /v1/services/shop.web "$version" &&
		same 'status' 200 "$(status_of -H "If-Match: $version" -d '{"shortcut": false}' http://localhost/v1/services/shop.web/settings)"
}
grown() { [ "$(field "$1" .version)" -gt "$2" ]; }
nonsense() {
	same 'no number' 400 "$(status_of -H 'If-Match: "abc"' -X DELETE http://localhost/v1/services/shop.web)" &&
		same 'no resource' 400 "$(status_of -H 'If-Match: 1' -X POST http://localhost/v1/images/prune)" &&
		same 'from elsewhere' 409 "$(status_of -H 'If-Match: 999999999' -X DELETE http://localhost/v1/services/shop.web)" &&
		same 'a peer' 409 "$(status_of -H 'If-Match: 1' -d '{"name": "b", "address": "192.0.2.10"}' http://localhost/v1/peers)" &&
		same 'any' 200 "$(status_of -H 'If-Match: *' -d '{}' http://localhost/v1/services/shop.web/settings)"
}
kept_over_restart() {
	local before after
	wait_for 60 running shop.web || return 1
	before=$(get /v1/services | jq -c '[.items[] | [.name, .wanted_version]]')
	lab_weftd_kill && lab_weftd || return 1
	after=$(get /v1/services | jq -c '[.items[] | [.name, .wanted_version]]')
	same 'versions' "$before" "$after"
}

# The last change of an instance was its weight, which only that event tells.
versions() { get /v1/instances | jq -c '[.items[] | select(.service == "shop.web") | {(.id): .version}] | add'; }
none_goes_back() {
	local before after last
	wait_for 60 running shop.web || return 1
	lab_weft service weights shop.web "$(lab_weft instance list -o json | jq -r '
		[.items[] | select(.service == "shop.web")][0].id | split(".")[2]')=77" >/dev/null || return 1
	last=$(get /v1/events | jq '[.items[] | select(.kind == "weights" and .object == "shop.web")][-1].seq')
	before=$(versions)
	jq -e --argjson last "$last" 'any(.[]; . == $last)' <<<"$before" >/dev/null || { echo "$before $last" && return 1; }
	lab_weftd_kill && lab_weftd || return 1
	after=$(versions)
	echo "$before $after"
	jq -en --argjson before "$before" --argjson after "$after" '[$before | keys[] | $after[.] >= $before[.]] | all' &&
		same 'instances' "$(jq -c 'keys' <<<"$before")" "$(jq -c 'keys' <<<"$after")"
}

# --- two people

two_people() {
	local version out
	descriptor shop.db 1 '.applications[0].microservices[0].memory = 64'
	out=$(lab_weft diff -f "$LAB_DIR/shop.db.json" 2>"$LAB_DIR/diff.err")
	[ $? = 1 ] || { echo "$out"; return 1; }
	has "$out" 'service shop.db: would be updated' 'memory none (->|→) 64' || return 1
	version=$(sed -n 's/.*--if-version //p' "$LAB_DIR/diff.err")
	same 'nothing was done' 1 "$(get /v1/services | jq '[.items[] | select(.name == "shop.db")] | length')" || return 1
	lab_weft service scale shop.db 2 >/dev/null || return 1 # somebody else
	refused 4 'shop\.db: changed meanwhile' "version $version" 'hint: ' -- \
		lab_weft apply -f "$LAB_DIR/shop.db.json" --if-version "$version" || return 1
	same 'replicas' 2 "$(field /v1/services/shop.db .replicas)" || return 1
	version=$(lab_weft diff -f "$LAB_DIR/shop.db.json" -o json | jq .version)
	out=$(lab_weft apply -f "$LAB_DIR/shop.db.json" --if-version "$version") || return 1
	has "$out" 'updated: ' 'replicas 2 (->|→) 1' 'memory none (->|→) 64' &&
		lab_weft diff -f "$LAB_DIR/shop.db.json"
}
removed_meanwhile() {
	local version
	version=$(last_event)
	lab_weft service delete shop.db --wait --timeout 60 >/dev/null || return 1
	refused 4 'shop\.db: removed meanwhile' -- lab_weft apply -f "$LAB_DIR/shop.db.json" --if-version "$version"
}
directory() {
	local out
	mkdir -p "$LAB_DIR/d" && cp "$LAB_DIR/shop.web.json" "$LAB_DIR/shop.db.json" "$LAB_DIR/d" || return 1
	out=$(lab_weft diff -f "$LAB_DIR/d/" 2>&1)
	[ $? = 1 ] && has "$out" 'service shop.db: would be created' || return 1
	lab_weft apply -f "$LAB_DIR/d/" >/dev/null && lab_weft diff -f "$LAB_DIR/d" || return 1
	echo '{' >"$LAB_DIR/d/broken.json"
	lab_weft diff -f "$LAB_DIR/d" >/dev/null 2>&1
	same 'trouble' 2 $? && rm "$LAB_DIR/d/broken.json" &&
		has "$(lab_weft delete -f "$LAB_DIR/d" --wait --timeout 60)" 'service shop.db: deleted' 'service shop.web: deleted' &&
		has "$(lab_weft delete -f "$LAB_DIR/d" 2>&1)" 'service shop.db: not there' &&
		same 'services' 0 "$(get /v1/services | jq '.items | length')"
}

# --- watching

watch() { # FILE QUERY [FLAGS]: in the background; WATCH
	local file=$1 query=$2
	shift 2
	curl -sN --max-time 100 --unix-socket "$LAB_SOCKET" "$@" "http://localhost/v1/watch?$query" >"$file" 2>/dev/null &
	WATCH=$!
}
unwatch() { kill "$WATCH" 2>/dev/null && wait "$WATCH" 2>/dev/null || :; }
seen() { jq -ne "[inputs] | any($2)" "$1"; } # FILE CONDITION

lists_then_follows() {
	watch "$LAB_DIR/w" 'wait=90&kind=service,instance'
	wait_for 30 seen "$LAB_DIR/w" '.action == "listed"' || return 1
	apply shop.web >/dev/null
	wait_for 60 seen "$LAB_DIR/w" '.kind == "service" and .name == "shop.web" and .resource.phase == "running"' &&
		wait_for 60 seen "$LAB_DIR/w" '.kind == "instance" and .resource.phase == "ready" and .action == "changed"' || return 1
	jq -ne '[inputs.version] | . == sort' "$LAB_DIR/w" || return 1
	jq -ne '[inputs | select(.resource != null) | .version == .resource.version or .action == "changed"] | all' "$LAB_DIR/w"
}
resumes() {
	local at
	unwatch
	at=$(jq -n 'last(inputs).version' "$LAB_DIR/w")
	lab_weft service delete shop.web --wait --timeout 60 >/dev/null || return 1
	same 'all of them' 'removed' "$(get "/v1/watch?since=$at&kind=service" | jq -r 'select(.name == "shop.web") | .action' | tail -n 1)" &&
		same 'instances' 2 "$(get "/v1/watch?since=$at&kind=instance" | jq -s '[.[] | select(.action == "removed") | .name] | unique | length')" &&
		same 'nothing new' '' "$(get "/v1/watch?since=$(last_event)")" &&
		same 'peers' '["b"]' "$(get '/v1/watch?kind=peer' | jq -sc '[.[] | select(.action == "present") | .name]')"
}
as_sse() {
	local at
	at=$(last_event)
	watch "$LAB_DIR/sse" 'wait=90&kind=service' -H 'Accept: text/event-stream' -H "Last-Event-ID: $at"
	apply shop.db >/dev/null
	wait_for 60 grep -q '"name":"shop.db"' "$LAB_DIR/sse"
	unwatch
	grep -qE '^id: [0-9]+$' "$LAB_DIR/sse" && grep -E '^data: ' "$LAB_DIR/sse" | sed 's/^data: //' |
		jq -ne --argjson at "$at" '[inputs] | length > 0 and all(.version > $at)'
}
too_old() {
	local n out
	for n in $(seq 1 2200); do # two events each
		printf 'next\nunix-socket = "%s"\nurl = "http://localhost/v1/peers"\ndata = "{\\"name\\": \\"b\\", \\"address\\": \\"192.0.2.%d\\"}"\noutput = /dev/null\nsilent\n' \
			"$LAB_SOCKET" $((10 + n % 100))
		printf 'next\nunix-socket = "%s"\nurl = "http://localhost/v1/peers"\ndata = "{\\"name\\": \\"b\\", \\"address\\": \\"192.0.2.%d\\", \\"mtu\\": 1400}"\noutput = /dev/null\nsilent\n' \
			"$LAB_SOCKET" $((10 + n % 100))
	done | sed 1d >"$LAB_DIR/curl.conf"
	curl -K "$LAB_DIR/curl.conf" || return 1
	[ "$(get /v1/events | jq .first)" -gt 2 ] || { echo 'no event was forgotten' && return 1; }
	out=$(get '/v1/watch?since=1')
	echo "$out"
	has "$out" '"code":"gone"' 'version 1 is too old' 'hint' &&
		same 'status' 410 "$(status_of 'http://localhost/v1/watch?since=1')" &&
		same 'status as SSE' 410 "$(status_of -H 'Accept: text/event-stream' -H 'Last-Event-ID: 1' 'http://localhost/v1/watch?wait=1')" &&
		same 'not one of this node' 410 "$(status_of 'http://localhost/v1/watch?since=99999999')"
}
bad_kind() { same 'status' 400 "$(status_of 'http://localhost/v1/watch?kind=service,car')"; }

# --- at work

logging() { # a service that writes a number a line, again and again
	jq -n '{
		sla_version: "v2.0", customerID: "test", applications: [{
			application_name: "shop", application_namespace: "default", microservices: [{
				microservice_name: "talk", microservice_namespace: "default", replicas: 1,
				virtualization: "native", cmd: ["/bin/sh", "-c", "n=0; while :; do n=$((n + 1)); echo \"line $n\"; sleep 0.05; done"]
			}]
		}]
	}' >"$LAB_DIR/shop.talk.json" && lab_weft apply -f "$LAB_DIR/shop.talk.json" >/dev/null && wait_for 60 running shop.talk
}
lines_above() { [ "$(grep -c "^${3:-}line " "$1")" -gt "$2" ]; }
follows() {
	local file=$LAB_DIR/followed id log
	logging || { lab_weft service show shop.talk && return 1; }
	id=$(field /v1/services/shop.talk '.instances[0]')
	log=$LAB_DIR/state/logs/$id.log
	"$LAB_BUILD/weft" -H "unix:$LAB_SOCKET" logs -f "$id" --tail 1000 >"$file" 2>"$file.err" &
	FOLLOW=$!
	wait_for 30 lines_above "$file" 10 || return 1
	# as the rotation does it
	cp "$log" "$log.1.tmp" && : >"$log" && mv "$log.1.tmp" "$log.1"
	wait_for 30 lines_above "$file" 60 || return 1
	lab_weftd_kill && lab_weftd || return 1
	wait_for 60 lines_above "$file" 120 || return 1
	kill -9 "$(field "/v1/instances/$id" .pid)"
	wait_for 60 grep -q 'going on with instance' "$file.err" || { cat "$file.err" && return 1; }
	wait_for 60 lines_above "$file" 180 || return 1
	kill -INT "$FOLLOW" && wait "$FOLLOW"
	same 'exit status' 0 $? && has "$(cat "$file.err")" "instance $id: (failed|gone)" "going on with instance shop.talk"
}
two_talk() { [ "$(sed -n 's/^\(shop\.talk\.[0-9]*\)  line .*/\1/p' "$1" | sort -u | wc -l)" -ge 2 ]; }
two_lines_each() { lab_weft logs shop.talk --tail 2 >"$1" && two_talk "$1" && [ "$(wc -l <"$1")" = 4 ]; }
follows_service() {
	local file=$LAB_DIR/followed-all
	"$LAB_BUILD/weft" -H "unix:$LAB_SOCKET" logs -f shop.talk --tail 3 >"$file" 2>"$file.err" &
	FOLLOW=$!
	lab_weft service scale shop.talk 2 >/dev/null && wait_for 60 running shop.talk || return 1
	wait_for 60 two_talk "$file" || { cat "$file" "$file.err" && return 1; }
	kill -INT "$FOLLOW" && wait "$FOLLOW"
	wait_for 60 two_lines_each "$file" || { cat "$file" && return 1; }
	refused 3 'neither an instance nor a service' -- lab_weft logs nobody &&
		refused 3 'neither an instance nor a service' -- lab_weft logs -f nobody
}
asked() { lab_in curl -s --max-time 5 "http://$(field /v1/services/shop.web .vip)/" >/dev/null; }
is_busy() {
	local n
	for n in {1..40}; do asked; done
	lab_weft top -o json | jq -e '[.instances[] | select(.service == "shop.web") | .rates.requests // 0] | add > 0'
}
top_shows() {
	apply shop.web >/dev/null && wait_for 60 running shop.web || return 1
	wait_for 60 is_busy || { lab_weft top -o json && return 1; }
	has "$(lab_weft top --service shop.web --timeout 3)" '^SERVICE +PHASE +READY +RPS +FAILED/S +P50 +P99 +CPU +MEMORY +SWAP' \
		'^shop\.web +running +2 ' '^INSTANCE +RUNTIME +PHASE +WEIGHT' '^shop\.web\.[0-9]+ +native +ready'
}

tap 'two services run' starts
tap 'each resource has a version' all_have_one
tap 'it is the number of the last event about it, and its ETag' equals_last_event
tap 'it grows with a change, and those of others do not' grows
tap 'a change of what has changed since is refused, with both versions' conflicts
tap 'what weft does by itself is no conflict' not_by_itself
tap 'If-Match that means nothing is refused' nonsense
tap 'a restart of weftd changes no version' kept_over_restart
tap 'killed, it takes no version of an instance back' none_goes_back
tap 'diff, and apply only if nobody was faster' two_people
tap 'nor what somebody has removed' removed_meanwhile
tap 'diff, apply and delete of a directory' directory
tap 'a watch lists what there is, and then says what changes' lists_then_follows
tap 'it goes on from where it was' resumes
tap 'as Server-Sent Events, after Last-Event-ID' as_sse
tap 'there is no such kind' bad_kind
tap 'a log is followed over rotation, a restart of weftd, and the end of the instance' follows
tap 'and all those of a service' follows_service
tap 'top shows who does how much' top_shows
tap 'what is too old is said so' too_old
tap 'the lab closes clean' lab_close
tap_end
