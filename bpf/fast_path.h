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
	/* Another one whenever user space writes a flow, so that nothing kept for one is taken for its successor's. */
	u32 edition;
	/* Bytes of application data a second, 0 for no limit. */
	u32 rate;
	/* When a packet is to go up again to keep neighbours known; kept by the program, from its first packet on. */
	u64 fresh_until;
	/* Index into `accounts`, where it has a limit. */
	u32 account;
	u32 unused;
};

enum {
	/* Packets leave by IPv6. */
	FLOW_IPV6 = 1,
	/* Up: the peer is a relayed address of this server. Down: the peer is; such packets never come by a wire. */
	FLOW_OWN_PEER = 2,
};

/* A VLAN tag without priority: type in network byte order, number in the machine's. */
struct tag {
	u16 type;
	u16 number;
};

/* How a flow's packets leave, as the routing table and the neighbours said when they were asked last. Asking costs more
 * than all the rest; so the answer is kept for a while, unless user space hears that something has changed. */
struct route {
	/* CLOCK_MONOTONIC in nanoseconds; 0 if nobody has asked. */
	u64 valid_until;
	/* Those of the settings and of the flow when it was asked. */
	u32 generation;
	u32 edition;
	u32 ifindex;
	/* For XDP: the device that carries the frames, with which tags, and whether it turns back what came by it. */
	u32 device;
	u8 smac[6];
	u8 dmac[6];
	/* IP packets as long as this are known to fit. */
	u16 mtu;
	u8 tag_count;
	u8 turns_back;
	struct tag tags[2];
};

/* What is kept of a flow for each CPU, whose programs do not interrupt one another: packets and bytes of application data,
 * and the way they leave. */
struct usage {
	u64 packets;
	u64 bytes;
	struct route route;
};

/* 64 ports. */
struct ports {
	u64 listening;
	u64 relayed;
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
	/* How long a route may be used without asking for it again, in nanoseconds; 0 for never. */
	u64 route_for;
	/* Another one whenever user space hears that a route, a neighbour or an interface has changed. */
	u32 generation;
	u32 unused;
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
	/* What `max-bps` allows is spent. */
	OVER_LIMIT,
	OUTCOMES,
};

#endif
