/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Deciding what is to become of a packet, changing nothing. */
#ifndef TURNPIKE_PLAN_H
#define TURNPIKE_PLAN_H

#include "packet.h"
#include "limits.h"

/* What is to become of it. */
struct plan {
	const struct flow *flow;
	/* The flow the packet came by, when it is handed to another client at once. */
	const struct flow *first;
	/* What is kept of the one, and of the other. */
	struct usage *usage;
	struct usage *first_usage;
	const struct route *route;
	const struct settings *rules;
	/* Whether the packet came as ChannelData, and whether it leaves as such. */
	u32 from_channel;
	u32 to_channel;
	/* Bytes of application data. */
	u32 data;
	/* Bytes in front of the data, before and after. */
	u32 old_headers;
	u32 new_headers;
	u32 time_to_live;
	u16 check;
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

/* Asks the routing table, and the neighbours that the kernel knows. */
INLINE int ask_for_route(void *context, enum point point, u32 length, const struct plan *plan, struct route *answer)
{
	const struct flow *flow = plan->flow;
	struct bpf_fib_lookup question = {};
	question.l4_protocol = IPPROTO_UDP;
	question.sport = flow->source_port;
	question.dport = flow->destination_port;
	question.tot_len = length;
	if (flow->flags & FLOW_IPV6) {
		question.family = AF_INET6;
		question.ifindex = plan->rules->routes_from[1];
		*(struct address *)question.source = flow->source;
		*(struct address *)question.destination = flow->destination;
	} else {
		question.family = AF_INET;
		question.ifindex = plan->rules->routes_from[0];
		question.source[0] = flow->source.ip[3];
		question.destination[0] = flow->destination.ip[3];
	}
	if (!question.ifindex)
		return NO_ROUTE;
	long result = bpf_fib_lookup(context, &question, sizeof(question), 0);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return TOO_LARGE;
	if (result != BPF_FIB_LKUP_RET_SUCCESS)
		return NO_ROUTE;
	answer->ifindex = question.ifindex;
	if (point == POINT_XDP) {
		/* A device that was not prepared for it would lose the frame. */
		const struct interface *egress = bpf_map_lookup_elem(&interfaces, &question.ifindex);
		if (!egress)
			return WRONG_INTERFACE;
		answer->device = egress->device;
		answer->tag_count = (u8)egress->tag_count;
		answer->turns_back = (u8)egress->turns_back;
		__builtin_memcpy(answer->tags, egress->tags, sizeof(answer->tags));
	}
	__builtin_memcpy(answer->smac, question.smac, sizeof(answer->smac));
	__builtin_memcpy(answer->dmac, question.dmac, sizeof(answer->dmac));
	/* Since Linux 5.13 the path's MTU; before, what was asked for. */
	answer->mtu = question.tot_len;
	return 0;
}

/* Where the packet goes: as it went last, if that is not long ago and nothing has changed, for packets as long as this. */
INLINE int plan_route(void *context, enum point point, u64 now, struct plan *plan)
{
	const struct flow *flow = plan->flow;
	const struct settings *rules = plan->rules;
	u32 length = sizeof(struct udp) + plan->data + 4 * plan->to_channel;
	if (flow->flags & FLOW_IPV6) {
		length += sizeof(struct ipv6);
		plan->time_to_live = rules->hop_limit;
	} else {
		length += sizeof(struct ipv4);
		plan->time_to_live = rules->time_to_live;
	}
	struct route *route = &plan->usage->route;
	plan->route = route;
	if (now < route->valid_until && route->generation == rules->generation && route->edition == flow->edition
	    && length <= route->mtu && (point != POINT_XDP || route->device))
		return 0;
	struct route answer = {};
	answer.valid_until = now + rules->route_for;
	answer.generation = rules->generation;
	answer.edition = flow->edition;
	int outcome = ask_for_route(context, point, length, plan, &answer);
	if (!outcome)
		*route = answer;
	return outcome;
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
INLINE int needs_refresh(const struct settings *rules, struct flow *flow, u64 now)
{
	if (!rules->fresh_for || now < flow->fresh_until)
		return 0;
	int first = flow->fresh_until == 0;
	flow->fresh_until = now + rules->fresh_for;
	return !first;
}

/* Finds the flow, in the first of the two tables whose kind of port the packet is for. */
INLINE int plan_flow(void *context, enum point point, struct packet *packet, struct plan *plan, u64 *clock)
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
	/* The clock as the last tick left it: user space has taken a tick from the deadlines. */
	u64 now = bpf_ktime_get_coarse_ns();
	*clock = now;
	if (now >= flow->deadline)
		return EXPIRED;
	if (needs_refresh(plan->rules, flow, now))
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

/* Spends what the packet costs, of one account or of both. */
INLINE int spend_all(u64 now, const struct plan *plan)
{
	if (plan->first && !spend(plan->first, now, plan->data))
		return OVER_LIMIT;
	if (spend(plan->flow, now, plan->data))
		return 0;
	if (plan->first)
		unspend(plan->first, plan->data);
	return OVER_LIMIT;
}

INLINE void unspend_all(const struct plan *plan)
{
	if (plan->first)
		unspend(plan->first, plan->data);
	unspend(plan->flow, plan->data);
}

/* Decides everything, and changes nothing of the packet. Returns 0 when it is to be forwarded as planned: then it is paid
 * for. */
INLINE int decide(void *context, enum point point, struct packet *packet, struct plan *plan)
{
	u64 now = 0;
	plan->rules = rules();
	if (!plan->rules)
		return NOT_OURS;
	int outcome = plan_flow(context, point, packet, plan, &now);
	if (outcome)
		return outcome;
	plan->usage = usage_of(plan->flow);
	plan->first_usage = plan->first ? usage_of(plan->first) : plan->usage;
	if (!plan->usage || !plan->first_usage)
		return NO_FLOW;
	if (point == POINT_XDP && !is_for_us(context, packet))
		return WRONG_INTERFACE;
	if (!plan_checksum(packet, plan))
		return NO_CHECKSUM;
	outcome = plan_route(context, point, now, plan);
	if (outcome)
		return outcome;
	u32 tags = point == POINT_XDP ? plan->route->tag_count : 0;
	u32 network = plan->flow->flags & FLOW_IPV6 ? sizeof(struct ipv6) : sizeof(struct ipv4);
	plan->old_headers = packet->headers + 4 * plan->from_channel;
	plan->new_headers = sizeof(struct ethernet) + 4 * (tags > 2 ? 2 : tags) + network + sizeof(struct udp)
		+ 4 * plan->to_channel;
	return spend_all(now, plan);
}

#endif
