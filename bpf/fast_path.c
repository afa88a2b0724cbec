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

#include "fast_path.h"

struct bpf_map_def SECTION("maps") up_flows = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct flow_key),
	.value_size = sizeof(struct flow),
	.max_entries = 65536,
	.map_flags = BPF_F_NO_PREALLOC,
};

struct bpf_map_def SECTION("maps") down_flows = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct flow_key),
	.value_size = sizeof(struct flow),
	.max_entries = 65536,
	.map_flags = BPF_F_NO_PREALLOC,
};

struct bpf_map_def SECTION("maps") usage = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct usage),
	.max_entries = 131072,
};

struct bpf_map_def SECTION("maps") outcomes = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u64),
	.max_entries = OUTCOMES,
};

struct bpf_map_def SECTION("maps") ports = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct ports),
	.max_entries = 65536 / 64,
};

struct bpf_map_def SECTION("maps") interfaces = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct interface),
	.max_entries = 1024,
	.map_flags = BPF_F_NO_PREALLOC,
};

struct bpf_map_def SECTION("maps") vlans = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct vlan_key),
	.value_size = sizeof(u32),
	.max_entries = 1024,
	.map_flags = BPF_F_NO_PREALLOC,
};

struct bpf_map_def SECTION("maps") settings = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct settings),
	.max_entries = 1,
};

struct ethernet {
	u8 destination[6];
	u8 source[6];
	u16 type;
};

struct vlan {
	u16 control;
	u16 type;
};

struct ipv4 {
	u8 version_and_length;
	u8 type_of_service;
	u16 length;
	u16 identification;
	u16 fragment;
	u8 time_to_live;
	u8 protocol;
	u16 check;
	u32 source;
	u32 destination;
};

struct ipv6 {
	u32 version_class_and_label;
	u16 length;
	u8 next_header;
	u8 hop_limit;
	struct address source;
	struct address destination;
};

struct udp {
	u16 source;
	u16 destination;
	u16 length;
	u16 check;
};

struct channel_data {
	u16 channel;
	u16 length;
};

/* What a packet says. */
struct packet {
	struct flow_key key;
	struct vlan_key vlan;
	u32 tag_count;
	u32 ipv6;
	/* Bytes in front of the UDP payload, and of the payload. */
	u32 headers;
	u32 payload;
	/* The first four bytes of the payload, if it has so many. */
	struct channel_data begin;
	u16 check; /* network byte order */
};

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

/* Where a packet is met. */
enum point { POINT_XDP, POINT_TC };

/* Not to one of our ports, or not plain UDP: nothing to count. */
#define NOT_OURS (-1)
/* The longest payload that is looked at: jumbo frames fit. */
#define LONGEST_PAYLOAD 16000
/* Link with two tags, IPv6, UDP, channel. */
#define LONGEST_HEADERS (14 + 8 + 40 + 8 + 4)

INLINE u32 fold(u64 sum)
{
	sum = (sum & 0xFFFFFFFF) + (sum >> 32);
	sum = (sum & 0xFFFFFFFF) + (sum >> 32);
	sum = (sum & 0xFFFF) + (sum >> 16);
	sum = (sum & 0xFFFF) + (sum >> 16);
	sum = (sum & 0xFFFF) + (sum >> 16);
	return (u32)sum;
}

INLINE u64 sum_of(const struct address *address)
{
	return (u64)address->ip[0] + address->ip[1] + address->ip[2] + address->ip[3];
}

INLINE void map_ipv4(struct address *address, u32 ip)
{
	address->ip[0] = 0;
	address->ip[1] = 0;
	address->ip[2] = 0xFFFF0000;
	address->ip[3] = ip;
}

INLINE int same_hardware_address(const u8 *one, const u8 *other)
{
	return *(const u32 *)one == *(const u32 *)other && *(const u16 *)(one + 4) == *(const u16 *)(other + 4);
}

INLINE void count(u32 outcome)
{
	u64 *counter = bpf_map_lookup_elem(&outcomes, &outcome);
	if (counter)
		*counter += 1;
}

INLINE void count_usage(u32 index, u32 bytes)
{
	struct usage *counter = bpf_map_lookup_elem(&usage, &index);
	if (counter) {
		counter->packets += 1;
		counter->bytes += bytes;
	}
}

/* The kernel would drop an IPv4 header whose sum is wrong; so it goes up to be dropped there. */
INLINE int ipv4_header_is_sound(const struct ipv4 *ip)
{
	const u16 *words = (const u16 *)ip;
	u64 sum = 0;
#pragma unroll
	for (int index = 0; index < 10; index++)
		sum += words[index];
	return fold(sum) == 0xFFFF;
}

INLINE const struct udp *parse_ipv4(void *network, void *end, struct packet *packet)
{
	const struct ipv4 *ip = network;
	const struct udp *udp = (const void *)(ip + 1);
	if ((void *)(udp + 1) > end)
		return 0;
	/* No options, no fragment, and no reserved bit. */
	if (ip->version_and_length != 0x45 || ip->protocol != IPPROTO_UDP || (ip->fragment & htons(0xBFFF)) != 0)
		return 0;
	if (ntohs(ip->length) != sizeof(*ip) + ntohs(udp->length) || !ipv4_header_is_sound(ip))
		return 0;
	map_ipv4(&packet->key.source, ip->source);
	map_ipv4(&packet->key.destination, ip->destination);
	packet->headers += sizeof(*ip);
	packet->ipv6 = 0;
	return udp;
}

INLINE const struct udp *parse_ipv6(void *network, void *end, struct packet *packet)
{
	const struct ipv6 *ip = network;
	const struct udp *udp = (const void *)(ip + 1);
	if ((void *)(udp + 1) > end)
		return 0;
	/* No extension header. */
	if ((*(const u8 *)network >> 4) != 6 || ip->next_header != IPPROTO_UDP || ip->length != udp->length)
		return 0;
	packet->key.source = ip->source;
	packet->key.destination = ip->destination;
	packet->headers += sizeof(*ip);
	packet->ipv6 = 1;
	return udp;
}

INLINE int is_tag(u16 type)
{
	return type == htons(ETH_P_8021Q) || type == htons(ETH_P_8021AD);
}

INLINE void *parse_tag(void *network, void *end, u16 *type, struct tag *tag, struct packet *packet)
{
	const struct vlan *vlan = network;
	if ((void *)(vlan + 1) > end)
		return 0;
	tag->type = *type;
	tag->number = ntohs(vlan->control) & 0xFFF;
	*type = vlan->type;
	packet->tag_count += 1;
	packet->headers += sizeof(*vlan);
	return network + sizeof(*vlan);
}

/* Reads a packet of `length` bytes; returns 0 if it is one that may be forwarded. */
INLINE int parse(void *data, void *end, u32 length, enum point point, struct packet *packet)
{
	const struct ethernet *ethernet = data;
	void *network = data + sizeof(*ethernet);
	if (network > end)
		return NOT_OURS;
	u16 type = ethernet->type;
	packet->headers = sizeof(*ethernet);
	packet->tag_count = 0;
	packet->vlan = (struct vlan_key){};
	/* At tc the kernel has taken off the outer tag, and tagged packets are left to the VLAN interface. */
	if (point == POINT_XDP && is_tag(type)) {
		network = parse_tag(network, end, &type, &packet->vlan.tags[0], packet);
		if (network && is_tag(type))
			network = parse_tag(network, end, &type, &packet->vlan.tags[1], packet);
		if (!network)
			return NOT_OURS;
	}
	const struct udp *udp = 0;
	if (type == htons(ETH_P_IP))
		udp = parse_ipv4(network, end, packet);
	else if (type == htons(ETH_P_IPV6))
		udp = parse_ipv6(network, end, packet);
	if (!udp || (void *)(udp + 1) > end)
		return NOT_OURS;
	u32 udp_length = ntohs(udp->length);
	if (udp_length < sizeof(*udp) || udp_length > LONGEST_PAYLOAD)
		return NOT_OURS;
	packet->headers += sizeof(*udp);
	packet->payload = udp_length - sizeof(*udp);
	if (packet->headers + packet->payload > length)
		return NOT_OURS;
	packet->key.source_port = udp->source;
	packet->key.destination_port = udp->destination;
	packet->key.channel = 0;
	packet->key.unused = 0;
	packet->check = udp->check;
	packet->begin = (struct channel_data){};
	const struct channel_data *begin = (const void *)(udp + 1);
	if (packet->payload >= sizeof(*begin)) {
		if ((void *)(begin + 1) > end)
			return NOT_OURS;
		packet->begin = *begin;
	}
	return 0;
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
INLINE int write_headers(void *data, void *end, const struct plan *plan)
{
	struct ethernet *ethernet = data;
	void *network = ethernet + 1;
	if (network > end)
		return 0;
	__builtin_memcpy(ethernet->destination, plan->dmac, sizeof(plan->dmac));
	__builtin_memcpy(ethernet->source, plan->smac, sizeof(plan->smac));
	u16 *type = &ethernet->type;
	if (plan->egress && plan->egress->tag_count > 0) {
		network = write_tag(network, end, &type, &plan->egress->tags[0]);
		if (network && plan->egress->tag_count > 1)
			network = write_tag(network, end, &type, &plan->egress->tags[1]);
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

INLINE void count_forwarded(const struct plan *plan)
{
	count(FORWARDED);
	count_usage(plan->flow->counter, plan->data);
	if (plan->first)
		count_usage(plan->first->counter, plan->data);
}

SECTION("xdp") int fast_path_xdp(struct xdp_md *xdp)
{
	struct packet packet;
	struct plan plan;
	u32 length = xdp->data_end - xdp->data;
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
		/* Nothing has happened yet. */
		count(NO_ROOM);
		return XDP_PASS;
	}
	/* What follows the data is padding of the channel or of the link. */
	int excess = (int)(xdp->data_end - xdp->data) - (int)(plan.new_headers + plan.data);
	if ((excess > 0 && bpf_xdp_adjust_tail(xdp, -excess))
	    || !write_headers((void *)(u64)xdp->data, (void *)(u64)xdp->data_end, &plan)) {
		count(LOST);
		return XDP_DROP;
	}
	count_forwarded(&plan);
	/* It is there: `decide` has found it. */
	if (!plan.egress)
		return XDP_DROP;
	if (plan.egress->turns_back && plan.egress->device == xdp->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect(plan.egress->device, 0);
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
	struct plan plan;
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
	    || !write_headers((void *)(u64)skb->data, (void *)(u64)skb->data_end, &plan)) {
		count(LOST);
		return TCX_DROP;
	}
	count_forwarded(&plan);
	return bpf_redirect(plan.ifindex, 0);
}

/* Asking for routes is allowed to programs under the GPL alone; this source is under MIT as well. */
char license_name[] SECTION("license") = "Dual MIT/GPL";
