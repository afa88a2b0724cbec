/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Reading packets: headers, and what of them counts. */
#ifndef TURNPIKE_PACKET_H
#define TURNPIKE_PACKET_H

#include "fast_path.h"

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

#endif
