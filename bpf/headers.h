/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Writing all headers of a packet anew. */
#ifndef TURNPIKE_HEADERS_H
#define TURNPIKE_HEADERS_H

#include "plan.h"

INLINE void *write_ipv4(void *network, void *end, const struct plan *plan, u32 udp_length)
{
	struct ipv4 *ip = network;
	if ((void *)(ip + 1) > end)
		return 0;
	ip->version_and_length = 0x45;
	ip->type_of_service = 0;
	ip->length = htons(sizeof(*ip) + udp_length);
	ip->identification = (u16)bpf_get_prandom_u32();
	ip->fragment = 0;
	ip->time_to_live = (u8)plan->time_to_live;
	ip->protocol = IPPROTO_UDP;
	ip->check = 0;
	ip->source = plan->flow->source.ip[3];
	ip->destination = plan->flow->destination.ip[3];
	const u16 *words = network;
	u64 sum = 0;
#pragma unroll
	for (int index = 0; index < 10; index++)
		sum += words[index];
	ip->check = (u16)~fold(sum);
	return ip + 1;
}

INLINE void *write_ipv6(void *network, void *end, const struct plan *plan, u32 udp_length)
{
	struct ipv6 *ip = network;
	if ((void *)(ip + 1) > end)
		return 0;
	ip->version_class_and_label = 0x60; /* the first byte in memory */
	ip->length = htons(udp_length);
	ip->next_header = IPPROTO_UDP;
	ip->hop_limit = (u8)plan->time_to_live;
	ip->source = plan->flow->source;
	ip->destination = plan->flow->destination;
	return ip + 1;
}

/* Writes a tag in the place of what `type` tells, and returns where the next header begins. */
INLINE void *write_tag(void *network, void *end, u16 **type, const struct tag *tag)
{
	struct vlan *vlan = network;
	if ((void *)(vlan + 1) > end)
		return 0;
	**type = tag->type;
	vlan->control = htons(tag->number);
	*type = &vlan->type;
	return vlan + 1;
}

/* Writes all headers. The room for them is there by now; the checks are for the verifier. */
INLINE int write_headers(void *data, void *end, enum point point, const struct plan *plan)
{
	struct ethernet *ethernet = data;
	void *network = ethernet + 1;
	if (network > end)
		return 0;
	__builtin_memcpy(ethernet->destination, plan->route->dmac, sizeof(ethernet->destination));
	__builtin_memcpy(ethernet->source, plan->route->smac, sizeof(ethernet->source));
	u16 *type = &ethernet->type;
	if (point == POINT_XDP && plan->route->tag_count > 0) {
		network = write_tag(network, end, &type, &plan->route->tags[0]);
		if (network && plan->route->tag_count > 1)
			network = write_tag(network, end, &type, &plan->route->tags[1]);
		if (!network)
			return 0;
	}
	u32 udp_length = sizeof(struct udp) + plan->data + 4 * plan->to_channel;
	if (plan->flow->flags & FLOW_IPV6) {
		*type = htons(ETH_P_IPV6);
		network = write_ipv6(network, end, plan, udp_length);
	} else {
		*type = htons(ETH_P_IP);
		network = write_ipv4(network, end, plan, udp_length);
	}
	struct udp *udp = network;
	if (!udp || (void *)(udp + 1) > end)
		return 0;
	udp->source = plan->flow->source_port;
	udp->destination = plan->flow->destination_port;
	udp->length = htons(udp_length);
	udp->check = plan->check;
	if (plan->to_channel) {
		struct channel_data *header = (void *)(udp + 1);
		if ((void *)(header + 1) > end)
			return 0;
		header->channel = plan->flow->channel;
		header->length = htons(plan->data);
	}
	return 1;
}

#endif
