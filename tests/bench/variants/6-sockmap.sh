# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# The same for a service whose connections take the shortcut between sockets.
# They do if their programs do not block in recv(): tcp_rr_poll.
shortcut_can_be() {
	ip link set lo up && "$programs/shortcut_lab" check "$dir/bpf/shortcut-check"
}
if shortcut_can_be; then variant sockmap direct tcp_rr_poll; fi
metric sockmap_rr_ratio sockmap/1/tcp_rr_poll direct/1/tcp_rr_poll
target sockmap_rr_ratio at-most 0.65

setup_sockmap() {
	new_ns sockmap-n
	within sockmap-n "$programs/shortcut_lab" /run/netns "$dir/bpf/sockmap"
	calm shortcut-c && calm shortcut-s
	client[sockmap]=shortcut-c address[sockmap]=10.30.0.1
	serve shortcut-s
}
