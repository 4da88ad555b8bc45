/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's way into the overlay: its namespace, its devices, its entry in the data plane. */
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/dataplane/sockmap.h"
#include "ctrl/engine/internal.h"

char *instance_netns(const struct instance *inst)
{
	return weft_strf("%s/netns/%s", inst->engine->config.state_dir, inst->name);
}

char *instance_dir(const struct instance *inst)
{
	return weft_strf("%s/instances/%s", inst->engine->config.state_dir, inst->name);
}

char *instance_log(const struct instance *inst)
{
	return weft_strf("%s/logs/%s.log", inst->engine->config.state_dir, inst->name);
}

/* "weft0.7": the host side of instance 7. Unique in the daemon's namespace, as ids are. */
static void device_name(const struct instance *inst, char name[IFNAMSIZ])
{
	snprintf(name, IFNAMSIZ, "%s.%u", inst->engine->config.host_device, inst->id);
}

static int join_dataplane(struct instance *inst, uint32_t ifindex, struct weft_err *err)
{
	struct weft_dp_instance dpi = {
		.id = inst->id,
		.service = inst->service->id,
		.ns_addr = inst->ns_addr,
		.inst_addr = inst->inst_addr,
		.ifindex = ifindex,
		.device = inst->net == WEFT_NET_TAP ? WEFT_DP_DEV_DIRECT : WEFT_DP_DEV_PEER,
	};
	int r;

	memcpy(dpi.mac, inst->mac, sizeof(dpi.mac));
	if (!inst->engine->no_ipv6.code) {
		dpi.ns_addr6 = inst->ns_addr6;
		dpi.inst_addr6 = inst->inst_addr6;
	}
	r = weft_dp_instance_set(inst->engine->dp, &dpi, err);
	if (r < 0)
		return r;
	device_name(inst, inst->device);
	inst->ifindex = ifindex;
	instance_shortcut(inst);
	return 0;
}

static int add_veth(
	struct instance *inst, const char *device, uint32_t *ret_ifindex, struct weft_err *err)
{
	const struct weft_engine_config *c = &inst->engine->config;
	_cleanup_(freep) char *netns = instance_netns(inst);
	struct weft_link_veth veth = {
		.host_name = device,
		.netns = netns,
		.peer_name = "eth0",
		.addr = inst->ns_addr,
		.prefix_len = c->subnet_len,
		.gateway = inst->engine->gateway,
		.addr6 = inst->ns_addr6,
		.prefix6_len = 128,
		.mtu = c->mtu,
	};
	int r;

	if (!netns)
		return weft_err_set(err, ENOMEM, "out of memory");
	memcpy(veth.mac, inst->mac, sizeof(veth.mac));
	if (inst->net == WEFT_NET_MACVTAP) {
		/* The guest owns the address; the veth below it has a MAC of its own. */
		veth.addr.s_addr = 0;
		veth.gateway.s_addr = 0;
		veth.addr6 = in6addr_any;
		veth.mac[1] ^= 1;
	}
	r = weft_netns_add(netns, err);
	if (r == 0)
		r = weft_link_veth_add(&veth, ret_ifindex, err);
	if (r == 0 && inst->net == WEFT_NET_MACVTAP)
		r = weft_link_macvtap_add(
			netns, "eth0", "macvtap0", inst->mac, c->mtu, &inst->tap_fd, err);
	return r;
}

int instance_network_add(struct instance *inst, struct weft_err *err)
{
	_cleanup_(freep) char *dir = instance_dir(inst);
	char device[IFNAMSIZ];
	uint32_t ifindex = 0;
	int r;

	if (!dir)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = weft_mkdir_p(dir, 0700);
	if (r < 0)
		return weft_err_set(
			err, r, "instance %s: cannot make %s: %s", inst->name, dir, strerror(-r));
	device_name(inst, device);
	if (inst->net == WEFT_NET_TAP)
		r = weft_link_tap_add(
			device, inst->engine->config.mtu, &inst->tap_fd, &ifindex, err);
	else
		r = add_veth(inst, device, &ifindex, err);
	if (r == 0)
		r = join_dataplane(inst, ifindex, err);
	if (r < 0) {
		weft_err_prefix(err, "instance %s: network", inst->name);
		instance_network_del(inst);
	}
	return r;
}

int instance_network_again(struct instance *inst, struct weft_err *err)
{
	char device[IFNAMSIZ];
	uint32_t ifindex;
	int r;

	device_name(inst, device);
	r = weft_link_ifindex(device, &ifindex);
	if (r < 0) {
		weft_err_set(err, r, "instance %s: its device %s is gone", inst->name, device);
		return r;
	}
	return join_dataplane(inst, ifindex, err);
}

void instance_network_del(struct instance *inst)
{
	_cleanup_(freep) char *netns = instance_netns(inst);
	char device[IFNAMSIZ];
	int r;

	if (inst->tap_fd >= 0)
		close(TAKE_FD(inst->tap_fd));
	inst->ifindex = 0; /* what is told of it from now on is no news */
	inst->gone_ns = 0;
	device_name(inst, device);
	r = weft_dp_instance_remove(inst->engine->dp, inst->id);
	if (r < 0)
		log_warning("instance %s: data plane: %s", inst->name, strerror(-r));
	r = weft_link_del(device);
	if (r < 0)
		log_warning("instance %s: device %s: %s", inst->name, device, strerror(-r));
	r = netns ? weft_netns_del(netns) : 0;
	if (r < 0)
		log_warning("instance %s: %s: %s", inst->name, netns, strerror(-r));
}

int engine_host_device(struct weft_engine *e, struct weft_err *err)
{
	struct weft_link_host host = {
		.name = e->config.host_device,
		.addr = e->gateway,
		.subnet = e->config.subnet,
		.subnet_len = e->config.subnet_len,
		.service = {htonl(0x0a1e0000)}, /* 10.30.0.0/16 */
		.service_len = 16,
		.addr6 = e->gateway6,
		.subnet6 = e->config.subnet6,
		.subnet6_len = e->config.subnet6_len,
		.service6 = {.s6_addr = {0xfd, 0xff}}, /* fdff::/16 */
		.service6_len = 16,
		.mtu = e->config.mtu,
	};
	struct weft_dp_instance dpi = {
		.id = HOST_INSTANCE,
		.ns_addr = e->gateway,
		.inst_addr = engine_host_addr(e),
		.ns_addr6 = e->gateway6,
		.device = WEFT_DP_DEV_HOST,
	};
	int r = weft_link_host_add(&host, &dpi.ifindex, dpi.mac, err);

	if (!e->no_ipv6.code)
		dpi.inst_addr6 = ipv6_instance_address(dpi.inst_addr);
	if (r == 0)
		r = weft_dp_instance_set(e->dp, &dpi, err);
	return r < 0 ? r : weft_dp_shortcut_netns(e->dp, HOST_INSTANCE, NULL, err);
}
