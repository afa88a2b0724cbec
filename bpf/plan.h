/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Deciding what is to become of a packet, changing nothing. */
#ifndef TURNPIKE_PLAN_H
#define TURNPIKE_PLAN_H

#include "packet.h"
#include "tables.h"

/* What is to become of it. */
struct plan {
	const struct flow *flow;
	/* The flow the packet came by, when it is handed to another client at once. */
	const struct flow *first;
	const struct interface *egress;
	/* Whether the packet came as ChannelData, and whether it leaves as such. */
	u32 from_channel;
	u32 to_channel;
	/* Bytes of application data. */
	u32 data;
	/* Bytes in front of the data, before and after. */
	u32 old_headers;
	u32 new_headers;
	u32 ifindex;
	u32 time_to_live;
	u16 check;
	u8 smac[6];
	u8 dmac[6];
};

INLINE int same_hardware_address(const u8 *one, const u8 *other)
{
	return *(const u32 *)one == *(const u32 *)other && *(const u16 *)(one + 4) == *(const u16 *)(other + 4);
}

INLINE int is_zero(void *context, enum point point, u32 offset)
{
	if (point == POINT_TC) {
		u8 byte = 1;
		return !bpf_skb_load_bytes(context, offset, &byte, 1) && !byte;
	}
	const struct xdp_md *xdp = context;
	const u8 *at = (void *)(u64)xdp->data;
	at += offset & 0x7FFF;
	return (void *)(at + 1) <= (void *)(u64)xdp->data_end && !*at;
}

/* Whether what follows a channel's data is what padding has to be to leave the checksum alone: at most three zeros. */
INLINE int is_padding(void *context, enum point point, u32 offset, u32 length)
{
	if (length > 3)
		return 0;
	return is_zero(context, point, offset) && (length < 2 || is_zero(context, point, offset + 1))
		&& (length < 3 || is_zero(context, point, offset + 2));
}

/* Whether the UDP checksum can be carried over, and to what. */
INLINE int plan_checksum(const struct packet *packet, struct plan *plan)
{
	u32 old_length = packet->payload + sizeof(struct udp);
	u32 new_length = plan->data + sizeof(struct udp) + 4 * plan->to_channel;
	plan->check = 0;
	if (packet->check == 0)
		return !packet->ipv6 && !(plan->flow->flags & FLOW_IPV6);
	u64 addresses = sum_of(&packet->key.source) + sum_of(&packet->key.destination);
	if (packet->check == fold(addresses + htons(IPPROTO_UDP) + htons(old_length)))
		return 0;
	u64 sum = (u16)~packet->check;
	sum += 0xFFFF - fold(addresses + packet->key.source_port + packet->key.destination_port);
	sum += plan->flow->sum;
	/* The length counts twice: in the header and in the pseudo header. */
	sum += 2 * (u64)(0xFFFF - htons(old_length)) + 2 * (u64)htons(new_length);
	if (plan->from_channel)
		sum += (u64)(0xFFFF - packet->begin.channel) + (0xFFFF - packet->begin.length);
	if (plan->to_channel)
		sum += (u64)plan->flow->channel + htons(plan->data);
	u16 check = (u16)~fold(sum);
	plan->check = check ? check : 0xFFFF;
	return 1;
}

/* Where the packet goes, by the routing table and the neighbours the kernel knows. */
INLINE int plan_route(void *context, enum point point, struct plan *plan)
{
	u32 zero = 0;
	const struct settings *rules = bpf_map_lookup_elem(&settings, &zero);
	if (!rules)
		return NO_ROUTE;
	const struct flow *flow = plan->flow;
	u32 udp_length = sizeof(struct udp) + plan->data + 4 * plan->to_channel;
	struct bpf_fib_lookup route = {};
	route.l4_protocol = IPPROTO_UDP;
	route.sport = flow->source_port;
	route.dport = flow->destination_port;
	if (flow->flags & FLOW_IPV6) {
		route.family = AF_INET6;
		route.ifindex = rules->routes_from[1];
		route.tot_len = sizeof(struct ipv6) + udp_length;
		*(struct address *)route.source = flow->source;
		*(struct address *)route.destination = flow->destination;
		plan->time_to_live = rules->hop_limit;
	} else {
		route.family = AF_INET;
		route.ifindex = rules->routes_from[0];
		route.tot_len = sizeof(struct ipv4) + udp_length;
		route.source[0] = flow->source.ip[3];
		route.destination[0] = flow->destination.ip[3];
		plan->time_to_live = rules->time_to_live;
	}
	if (!route.ifindex)
		return NO_ROUTE;
	long answer = bpf_fib_lookup(context, &route, sizeof(route), 0);
	if (answer == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return TOO_LARGE;
	if (answer != BPF_FIB_LKUP_RET_SUCCESS)
		return NO_ROUTE;
	plan->ifindex = route.ifindex;
	plan->egress = 0;
	if (point == POINT_XDP) {
		/* A device that was not prepared for it would lose the frame. */
		plan->egress = bpf_map_lookup_elem(&interfaces, &route.ifindex);
		if (!plan->egress)
			return WRONG_INTERFACE;
	}
	__builtin_memcpy(plan->smac, route.smac, sizeof(plan->smac));
	__builtin_memcpy(plan->dmac, route.dmac, sizeof(plan->dmac));
	return 0;
}

/* Hands a packet for another relayed address of this server on to the client behind it. */
INLINE int plan_own_peer(u64 now, struct plan *plan)
{
	struct flow_key key = {};
	key.source = plan->flow->source;
	key.destination = plan->flow->destination;
	key.source_port = plan->flow->source_port;
	key.destination_port = plan->flow->destination_port;
	plan->first = plan->flow;
	const struct flow *second = bpf_map_lookup_elem(&down_flows, &key);
	if (!second)
		return NO_FLOW;
	if (now >= second->deadline)
		return EXPIRED;
	plan->flow = second;
	plan->to_channel = 1;
	return 0;
}

/* Whether a packet has to go up once more. What is sent here uses the neighbours that the kernel knows without asking
 * whether they still hold; and connection tracking would forget a flow of which it sees nothing. */
INLINE int needs_refresh(struct flow *flow, u64 now)
{
	u32 zero = 0;
	const struct settings *rules = bpf_map_lookup_elem(&settings, &zero);
	if (!rules || !rules->fresh_for || now < flow->fresh_until)
		return 0;
	int first = flow->fresh_until == 0;
	flow->fresh_until = now + rules->fresh_for;
	return !first;
}

/* Finds the flow, in the first of the two tables whose kind of port the packet is for. */
INLINE int plan_flow(void *context, enum point point, struct packet *packet, struct plan *plan)
{
	u32 port = ntohs(packet->key.destination_port);
	u32 word = port >> 6;
	u64 bit = 1ULL << (port & 63);
	const struct ports *kinds = bpf_map_lookup_elem(&ports, &word);
	if (!kinds || !((kinds->listening | kinds->relayed) & bit))
		return NOT_OURS;
	u64 relayed = kinds->relayed & bit;
	u64 listening = kinds->listening & bit;
	struct flow *flow = 0;
	plan->first = 0;
	plan->from_channel = 0;
	plan->to_channel = 0;
	if (listening && packet->payload >= sizeof(struct channel_data)) {
		packet->key.channel = packet->begin.channel;
		/* Zero is no channel; nor is it looked up as one. */
		flow = packet->key.channel ? bpf_map_lookup_elem(&up_flows, &packet->key) : 0;
		packet->key.channel = 0;
		plan->from_channel = flow != 0;
	}
	if (!flow && relayed) {
		flow = bpf_map_lookup_elem(&down_flows, &packet->key);
		plan->to_channel = flow != 0;
	}
	if (!flow)
		return NO_FLOW;
	plan->flow = flow;
	u64 now = bpf_ktime_get_ns();
	if (now >= flow->deadline)
		return EXPIRED;
	if (needs_refresh(flow, now))
		return REFRESH;
	plan->data = packet->payload;
	if (plan->from_channel) {
		u32 data = ntohs(packet->begin.length);
		u32 room = packet->payload - sizeof(struct channel_data);
		if (data > room)
			return NO_FLOW;
		if (data < room && !is_padding(context, point, packet->headers + 4 + data, room - data))
			return PADDED;
		plan->data = data;
		if (flow->flags & FLOW_OWN_PEER)
			return plan_own_peer(now, plan);
	} else if (flow->flags & FLOW_OWN_PEER) {
		/* The kernel refuses packets from outside that bear an address of its own. */
		return NO_FLOW;
	}
	return 0;
}

/* The packet is to be for this host's hardware address, in a VLAN that this host has part in. */
INLINE int is_for_us(struct xdp_md *xdp, struct packet *packet)
{
	u32 ifindex = xdp->ingress_ifindex;
	if (packet->tag_count) {
		packet->vlan.device = ifindex;
		u32 *found = bpf_map_lookup_elem(&vlans, &packet->vlan);
		if (!found)
			return 0;
		ifindex = *found;
	}
	const struct interface *interface = bpf_map_lookup_elem(&interfaces, &ifindex);
	const struct ethernet *ethernet = (void *)(u64)xdp->data;
	if (!interface || (void *)(ethernet + 1) > (void *)(u64)xdp->data_end)
		return 0;
	return same_hardware_address(ethernet->destination, interface->address);
}

/* Decides everything, and changes nothing. Returns 0 when the packet is to be forwarded as planned. */
INLINE int decide(void *context, enum point point, struct packet *packet, struct plan *plan)
{
	int outcome = plan_flow(context, point, packet, plan);
	if (outcome)
		return outcome;
	if (point == POINT_XDP && !is_for_us(context, packet))
		return WRONG_INTERFACE;
	if (!plan_checksum(packet, plan))
		return NO_CHECKSUM;
	outcome = plan_route(context, point, plan);
	if (outcome)
		return outcome;
	u32 tags = plan->egress ? plan->egress->tag_count : 0;
	u32 network = plan->flow->flags & FLOW_IPV6 ? sizeof(struct ipv6) : sizeof(struct ipv4);
	plan->old_headers = packet->headers + 4 * plan->from_channel;
	plan->new_headers = sizeof(struct ethernet) + 4 * (tags > 2 ? 2 : tags) + network + sizeof(struct udp)
		+ 4 * plan->to_channel;
	return 0;
}

#endif
