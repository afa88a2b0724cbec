/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the kernel program and its loader share: crates/xdp/src/layout.rs has the same in Rust. Everything is in the
 * machine's byte order but what is marked as the network's. */
#ifndef TURNPIKE_FAST_PATH_H
#define TURNPIKE_FAST_PATH_H

#include "kernel.h"

/* A transport address; IPv4 is written as IPv4-mapped IPv6. Network byte order. */
struct address {
	u32 ip[4];
};

/* Whose packets a flow takes: client and listener with a channel number (up), or peer and relayed address with channel
 * zero (down). Network byte order. */
struct flow_key {
	struct address source;
	struct address destination;
	u16 source_port;
	u16 destination_port;
	u16 channel;
	u16 unused;
};

/* What becomes of them. */
struct flow {
	/* CLOCK_MONOTONIC in nanoseconds; from then on user space decides. */
	u64 deadline;
	struct address source;
	struct address destination;
	u16 source_port;      /* network byte order */
	u16 destination_port; /* network byte order */
	u16 channel;          /* down: what to put before the data; network byte order */
	u16 flags;
	/* Ones' complement sum of source, destination and ports, folded. */
	u32 sum;
	/* Index into `usage`. */
	u32 counter;
	/* When a packet is to go up again to keep neighbours known; kept by the program, from its first packet on. */
	u64 fresh_until;
};

enum {
	/* Packets leave by IPv6. */
	FLOW_IPV6 = 1,
	/* Up: the peer is a relayed address of this server. Down: the peer is; such packets never come by a wire. */
	FLOW_OWN_PEER = 2,
};

/* Packets and bytes of application data of one flow, for each CPU. */
struct usage {
	u64 packets;
	u64 bytes;
};

/* 64 ports. */
struct ports {
	u64 listening;
	u64 relayed;
};

/* A VLAN tag without priority: type in network byte order, number in the machine's. */
struct tag {
	u16 type;
	u16 number;
};

/* How frames with this interface's hardware address come and go. */
struct interface {
	/* The device that carries the frames: the interface itself, or what a VLAN interface is made on. */
	u32 device;
	u8 address[6];
	u16 tag_count;
	struct tag tags[2];
	/* Whether the device sends what came by it by XDP_TX. Veth takes that too, but tells the other end only if that has
	 * a program of its own; so there it is redirected to where it came from. */
	u32 turns_back;
};

/* Which VLAN interface tagged frames of a device belong to; an absent tag is zero. */
struct vlan_key {
	u32 device;
	struct tag tags[2];
};

struct settings {
	/* The interface to look up routes from, for IPv4 and IPv6; 0 for none, and then no packet is forwarded. */
	u32 routes_from[2];
	u32 time_to_live;
	u32 hop_limit;
	/* How often a packet of each flow goes up, in nanoseconds; 0 for never. */
	u64 fresh_for;
};

/* What became of packets to listening and relayed ports. */
enum outcome {
	FORWARDED,
	/* Dropped, because changing the packet failed half-way. */
	LOST,
	/* All others are left to user space, untouched. */
	NO_FLOW,
	EXPIRED,
	/* One of a flow's packets now and then, so that user space sends and the kernel looks after the neighbour. */
	REFRESH,
	PADDED,
	NO_CHECKSUM,
	NO_ROUTE,
	TOO_LARGE,
	NO_ROOM,
	WRONG_INTERFACE,
	OUTCOMES,
};

#endif
