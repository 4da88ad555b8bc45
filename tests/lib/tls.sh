# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Certificates for tests of the API over TLS. Sourced.
#   tls_make DIR         ca.pem, and server.pem and server.key for localhost and 127.0.0.1; the same as
#                        old.pem (expired) and other.pem (of an authority nobody knows)
tls_sign() { # DIR NAME CA DAYS
	local dir=$1 name=$2 ca=$3 days=$4
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
		-keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null &&
		openssl x509 -req -in "$dir/$name.csr" -CA "$dir/$ca.pem" -CAkey "$dir/$ca.key" -set_serial "$RANDOM" \
			-days "$days" -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') \
			-out "$dir/$name.pem" 2>/dev/null &&
		chmod 600 "$dir/$name.key"
}

tls_ca() { # DIR NAME
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -days 2 \
		-keyout "$1/$2.key" -out "$1/$2.pem" 2>/dev/null
}

tls_make() {
	tls_ca "$1" ca && tls_ca "$1" strange && tls_sign "$1" server ca 2 && tls_sign "$1" old ca -1 &&
		tls_sign "$1" other strange 2
}
