# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Services of native nginx processes, for tests that need no container. Sourced after scripts/lab.sh.
#   nginx_conf                      what they all run: port 80 answers with the address it was asked at
#   descriptor NAME REPLICAS [JQ]   $LAB_DIR/NAME.json, changed by a jq program
nginx_conf() {
	cat >"$LAB_DIR/nginx.conf" <<-'EOF2'
		daemon off; master_process off; pid nginx.pid; error_log stderr;
		events { worker_connections 256; }
		http {
			access_log off;
			client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
			server { listen 80; location / { return 200 "$server_addr\n"; } }
		}
	EOF2
}

descriptor() { # NAME REPLICAS [JQ]
	jq -n --arg app "${1%.*}" --arg name "${1#*.}" --argjson n "$2" --arg conf "$LAB_DIR/nginx.conf" '{
		sla_version: "v2.0", customerID: "test", applications: [{
			application_name: $app, application_namespace: "default", microservices: [{
				microservice_name: $name, microservice_namespace: "default", replicas: $n,
				virtualization: "native", readiness: {type: "http", port: 80, timeout_s: 10},
				swap: {drain_s: 5}, cmd: ["nginx", "-p", ".", "-e", "stderr", "-c", $conf]
			}]
		}]
	} | '"${3:-.}" >"$LAB_DIR/$1.json"
}
