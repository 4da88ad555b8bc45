#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The web page: what it is made of, and in a real browser: over TLS with a token typed in, and behind
# a proxy to the unix socket.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. tests/lib/tls.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

api() { curl -s --max-time 10 --unix-socket "$LAB_SOCKET" "http://weftd$1" "${@:2}"; }

tokens_made() {
	tls_make "$LAB_DIR" || return 1
	{ read -r TOKEN && read -r entry; } < <("$LAB_BUILD/weft" token new looker --role read)
	printf '{ "tokens": [ %s ] }\n' "$entry" >"$LAB_DIR/tokens.json"
	lab_weftd --listen=127.0.0.1:7443 --tls-cert="$LAB_DIR/server.pem" --tls-key="$LAB_DIR/server.key" \
		--tokens="$LAB_DIR/tokens.json"
}
# shop.web runs natively, and could as a unikernel.
service() {
	# shellcheck disable=SC2016 # it is jq
	descriptor shop.web 2 '.applications[0].microservices[0] |= (.addresses.rr_ip = "10.30.0.2"
		| .variants = [{virtualization: "unikernel", code: $ENV.GUEST, arch: ["amd64"], memory: 32, network: "tap"}])'
	lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 30
}

sse() { # ARGS...: of curl
	api '/v1/events?wait=1' -N -H 'Accept: text/event-stream' "$@"
}
event_stream() {
	local all first
	all=$(sse -i)
	has "$all" '^Content-Type: text/event-stream' '^id: 1$' '^data: {"seq":1,' || return 1
	first=$(sed -n 's/^id: //p' <<<"$all" | sed -n 3p)
	same 'after Last-Event-ID' "$((first + 1))" "$(sse -H "Last-Event-ID: $first" | sed -n 's/^id: //p' | head -n1)" &&
		same 'each has its number' '' "$(paste -d' ' <(sed -n 's/^id: //p' <<<"$all") \
			<(sed -n 's/^data: //p' <<<"$all" | jq .seq) | awk '$1 != $2')" &&
		same 'as many as there are' "$(api /v1/events | jq '.items | length')" "$(grep -c '^data: ' <<<"$all")"
}

small() {
	local total
	total=$(cat ctrl/web/* | wc -c)
	echo "$total bytes"
	[ "$total" -lt 153600 ]
}
served() {
	local f
	cmp ctrl/web/index.html <(api /) || return 1
	for f in app.js view.js plot.js style.css uPlot.iife.min.js uPlot.min.css uPlot.LICENSE; do cmp "ctrl/web/$f" <(api "/web/$f") || return 1; done
	has "$(api / -i)" "^Content-Security-Policy: default-src 'none'; script-src 'self'" '^Content-Type: text/html; charset=utf-8' \
		'^X-Content-Type-Options: nosniff' && has "$(api /web/app.js -i)" '^Content-Type: text/javascript' &&
		has "$(api /web/none.js -i)" '^HTTP/1.1 404'
}
nothing_else() { # no script, style or address but the daemon's own
	! grep -nE 'innerHTML|insertAdjacent|document\.write|eval\(|onclick=|style=' ctrl/web/*.html ctrl/web/*.js &&
		! grep -nE 'https?://' ctrl/web/{index.html,app.js,view.js,plot.js}
}
uplot_as_it_is() { # what its authors give out as 1.6.32
	same 'sum' 19c8d4c6 "$(sha256sum ctrl/web/uPlot.iife.min.js | cut -c1-8)"
}
drawn() { # PLACE SERIES: uPlot has drawn it, in its color, and its legend has a number for it
	cat <<-EOF
		(() => {
			const canvas = document.querySelector("#$1 .uplot canvas"), c = document.createElement("canvas").getContext("2d");
			if (!canvas || !/$2.*[0-9.]+k? $3/s.test(document.querySelector("#$1 .u-legend").innerText)) return false;
			c.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--c0");
			c.fillRect(0, 0, 1, 1);
			const want = c.getImageData(0, 0, 1, 1).data, got = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
			for (let i = 0; i < got.length; i += 4)
				if (got[i + 3] > 200 && [0, 1, 2].every((k) => Math.abs(got[i + k] - want[k]) < 8)) return true;
			return false;
		})()
	EOF
}

browse() { lab_in tests/lib/browser.py "$LAB_DIR/profile" "$@"; }
enter() { # STEP...: over TLS, once the token is in
	browse https://localhost:7443/ '? 401' 'document.getElementById("login").checkVisibility()' \
		"! document.getElementById('token').value = '$TOKEN'" '! document.getElementById("login").requestSubmit()' "$@"
}
text='document.body.innerText'
login() {
	browse https://localhost:7443/ '? 401' 'document.getElementById("login").checkVisibility()' \
		"! document.getElementById('token').value = 'weft_wrong'" '! document.getElementById("login").requestSubmit()' \
		"$text.includes('its token is not one of')" '!document.getElementById("main").checkVisibility()'
}
asked_now_and_then() {
	# Not lab_in: a function in the background is a shell of its own, and its pid the shell's.
	nsenter --net="/run/netns/$LAB_NS" bash -c 'for _ in {1..1000}; do curl -s -o /dev/null --max-time 2 http://10.30.0.2/; read -rt 0.05 <> <(:); done' &
}
shows_service() {
	local rc=0
	asked_now_and_then
	enter "document.getElementById('services').innerText.includes('shop.web')" \
		"document.getElementById('services').innerText.includes('2/2')" \
		"document.getElementById('instances').innerText.includes('shop.web.1')" \
		"document.getElementById('events').innerText.includes('ready')" \
		"document.getElementById('state').className === 'good'" '!document.getElementById("login").checkVisibility()' \
		"$(drawn rate shop.web "new flows.s")" || rc=1
	lab_end $!
	return $rc
}
dropped() { # a first call may wait for a service to come: it is no drop
	lab_in curl -s --max-time 1 -o /dev/null http://10.30.0.99/
	lab_weft dp drops list | grep -q unknown_addr
}
tells_drops() {
	wait_for 20 dropped || return 1
	enter "document.getElementById('drops').innerText.includes('unknown_addr')"
}
traces() {
	local rc=0
	asked_now_and_then
	enter '!document.getElementById("trace").disabled' '! document.getElementById("trace").click()' \
		"document.getElementById('hops').innerText.includes('host-rx') || document.getElementById('trace-state').innerText.includes('kernel')" || rc=1
	lab_end $!
	return $rc
}
shows_swap() {
	local rc=0
	load_start swap 150 8 --close
	lab_weft swap start shop.web --to unikernel --strategy canary --steps 20,60 --hold 30s >/dev/null || return 1
	enter 'document.querySelector(".swap h3").textContent.startsWith("shop.web: native → unikernel")' \
		'document.querySelector(".share .new").textContent === "new 20 %"' \
		'document.querySelector(".phases .now").textContent.startsWith("shift")' \
		'/old p50 [0-9].* p90 [0-9].* new p50 [0-9].* p90 [0-9]/.test(document.querySelector(".phases .now").textContent)' \
		"$(drawn swapped 'p99 shop.web old .native.' µs)" \
		'document.querySelector(".share .new").textContent === "new 60 %"' || rc=1
	lab_weft swap abort "$(lab_weft swap list -o json | jq -r '.items[0].id')" >/dev/null
	load_stop
	wait_for 60 ended && enter '!document.getElementById("running").checkVisibility()' \
		"document.getElementById('history').innerText.includes('rolled-back')" || rc=1
	return $rc
}
ended() { lab_weft swap list -o json | jq -e '.items[0].ended_ms != null'; }
behind_proxy() {
	mkdir -p "$LAB_DIR/proxy"
	cat >"$LAB_DIR/proxy/nginx.conf" <<-EOF
		daemon off; master_process off; pid nginx.pid; error_log stderr;
		events { worker_connections 256; }
		http {
			access_log off;
			client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
			server { listen 127.0.0.1:8080; location /weft/ {
				proxy_pass http://unix:$LAB_SOCKET:/; proxy_buffering off; proxy_http_version 1.1; } }
		}
	EOF
	# By lab_in it would be the child of what is ended, and stay.
	nsenter --net="/run/netns/$LAB_NS" nginx -p "$LAB_DIR/proxy" -e stderr -c "$LAB_DIR/proxy/nginx.conf" >"$LAB_DIR/proxy/log" 2>&1 &
	local proxy=$! rc=0
	browse http://127.0.0.1:8080/weft/ "document.getElementById('services').innerText.includes('shop.web')" \
		"document.getElementById('events').innerText.includes('ready')" '!document.getElementById("login").checkVisibility()' \
		'! var last = 0; new EventSource("v1/events?wait=60").onmessage = (e) => { last = e.lastEventId === String(JSON.parse(e.data).seq) ? +e.lastEventId : -1 }' \
		'last > 3' || rc=1
	lab_end "$proxy"
	! pgrep -f "^nginx -p $LAB_DIR/proxy" || rc=1
	return "$rc"
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl nginx openssl; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
for c in weftd weft weft-load guest/weft-guest.tar.gz; do [ -e "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
export GUEST=file://$LAB_BUILD/guest/weft-guest.tar.gz
lab_open e2e-web
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf

tap 'weftd starts, with TLS' tokens_made
tap 'it is small' small
tap 'it is served as it is, with a strict policy' served
tap 'it has nothing from elsewhere, and no markup out of data' nothing_else
tap 'uPlot is as it is given out' uplot_as_it_is
tap 'a service runs' service
tap 'events for EventSource, from where it left off' event_stream
# Chromium and what it needs is 400 MB: it is used where it is.
if command -v chromium >/dev/null; then
	tap 'a wrong token is not let in' login
	tap 'a token typed in: the service, its instances, events, a plot' shows_service
	tap 'drops' tells_drops
	tap 'latency hop by hop' traces
	tap 'a swap while it runs, with weights and latency, and when it has ended' shows_swap
	tap 'behind a proxy, below a path, without a token' behind_proxy
else
	tap 'the page in a browser # SKIP chromium is not installed (apt-get install chromium)' true
fi
tap 'the lab closes clean' lab_close
tap_end
