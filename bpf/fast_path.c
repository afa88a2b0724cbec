/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Relays ChannelData and peers' datagrams inside the kernel (RFC 8656 section 12): between a client's channel and its
 * peer, and between two clients of this server.
 *
 * Everything that is not plainly a packet of a known flow goes up to user space untouched: user space alone is always
 * enough. All checks come before the first write. One source, two programs: `fast_path_xdp` in the driver,
 * `fast_path_tc` behind it, which differ only in how a packet is made longer or shorter.
 *
 * Fields of the outgoing IP header are those of a new packet, as user space's are (RFC 8656 section 14, alternate
 * behaviour): TTL as the system has it, TOS 0, DF clear, IPv4 identification random. Headers of the link, IP, UDP and
 * the channel are written anew as a whole; only the UDP checksum is carried over, changed by what changed. So a checksum
 * that was wrong stays wrong, and the receiver drops the packet.
 *
 * A checksum that is zero in IPv4 stays zero (RFC 768) and goes up where it would become IPv6. One that a local sender
 * left to the hardware ("partial": veth) holds the sum of the pseudo header alone: nothing could be made of it here, so
 * it goes up, and with it one of 65,536 packets that look alike. */

#include "headers.h"

INLINE void count_forwarded(const struct plan *plan)
{
	count(FORWARDED);
	count_usage(plan->usage, plan->data);
	if (plan->first)
		count_usage(plan->first_usage, plan->data);
}

INLINE u32 frame_length(const struct xdp_md *xdp)
{
	u64 length = (u64)xdp->data_end - (u64)xdp->data;
	/* The verifier refuses 32-bit arithmetic on pointers, which the compiler would make of this. */
	asm volatile("" : "+r"(length));
	return (u32)length;
}

SECTION("xdp") int fast_path_xdp(struct xdp_md *xdp)
{
	struct packet packet;
	struct plan plan = {};
	u32 length = frame_length(xdp);
	if (parse((void *)(u64)xdp->data, (void *)(u64)xdp->data_end, length, POINT_XDP, &packet))
		return XDP_PASS;
	int outcome = decide(xdp, POINT_XDP, &packet, &plan);
	if (outcome) {
		if (outcome != NOT_OURS)
			count(outcome);
		return XDP_PASS;
	}
	if (plan.old_headers != plan.new_headers
	    && bpf_xdp_adjust_head(xdp, (int)plan.old_headers - (int)plan.new_headers)) {
		/* Nothing has happened to the packet yet. */
		unspend_all(&plan);
		count(NO_ROOM);
		return XDP_PASS;
	}
	/* What follows the data is padding of the channel or of the link. */
	int excess = (int)frame_length(xdp) - (int)(plan.new_headers + plan.data);
	if ((excess > 0 && bpf_xdp_adjust_tail(xdp, -excess))
	    || !write_headers((void *)(u64)xdp->data, (void *)(u64)xdp->data_end, POINT_XDP, &plan)) {
		count(LOST);
		return XDP_DROP;
	}
	count_forwarded(&plan);
	if (plan.route->turns_back && plan.route->device == xdp->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect(plan.route->device, 0);
}

/* Makes a packet as long as planned, its headers in the linear part. */
INLINE int resize(struct __sk_buff *skb, const struct packet *packet, const struct plan *plan)
{
	u32 length = plan->old_headers + plan->data;
	if (skb->len > length && bpf_skb_change_tail(skb, length, 0))
		return 0;
	int difference = (int)plan->new_headers - (int)plan->old_headers;
	u32 to_ipv6 = (plan->flow->flags & FLOW_IPV6) != 0;
	if (to_ipv6 != packet->ipv6) {
		if (bpf_skb_change_proto(skb, to_ipv6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP), 0))
			return 0;
		int change = sizeof(struct ipv6) - sizeof(struct ipv4);
		difference -= to_ipv6 ? change : -change;
	}
	if (difference && bpf_skb_adjust_room(skb, difference, BPF_ADJ_ROOM_MAC, 0))
		return 0;
	return (void *)(u64)skb->data + plan->new_headers <= (void *)(u64)skb->data_end
		|| !bpf_skb_pull_data(skb, plan->new_headers);
}

SECTION("classifier") int fast_path_tc(struct __sk_buff *skb)
{
	struct packet packet;
	struct plan plan = {};
	/* Joined packets, packets of a VLAN, packets of others. */
	if (skb->gso_size || skb->vlan_present || skb->pkt_type != PACKET_HOST)
		return TCX_NEXT;
	u32 length = skb->len;
	if ((void *)(u64)skb->data + LONGEST_HEADERS > (void *)(u64)skb->data_end
	    && bpf_skb_pull_data(skb, length < LONGEST_HEADERS ? length : LONGEST_HEADERS))
		return TCX_NEXT;
	if (parse((void *)(u64)skb->data, (void *)(u64)skb->data_end, length, POINT_TC, &packet))
		return TCX_NEXT;
	int outcome = decide(skb, POINT_TC, &packet, &plan);
	if (outcome) {
		if (outcome != NOT_OURS)
			count(outcome);
		return TCX_NEXT;
	}
	if (!resize(skb, &packet, &plan)
	    || !write_headers((void *)(u64)skb->data, (void *)(u64)skb->data_end, POINT_TC, &plan)) {
		count(LOST);
		return TCX_DROP;
	}
	count_forwarded(&plan);
	return bpf_redirect(plan.route->ifindex, 0);
}

/* Asking for routes is allowed to programs under the GPL alone; this source is under MIT as well. */
char license_name[] SECTION("license") = "Dual MIT/GPL";
