/* What the kernel program asks of the kernel, outside of it: tables, clock, routes, packets that grow and shrink.
 *
 * A packet lies below 4 GiB, as its 32-bit pointers want it, and its linear part ends where a page begins that nobody may
 * touch: one byte read too far ends the process. */
#ifndef TURNPIKE_FUZZ_HELPERS_H
#define TURNPIKE_FUZZ_HELPERS_H

#define HELPERS_ELSEWHERE
#include "../../bpf/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, ROOM = 16 * PAGE, LONGEST_FRAME = 4096, HEADROOM = 256 };

/* What the world answers to the program, as the input says. */
struct answers {
	u32 route_result;
	u32 mtu;
	u32 refuse_head;
	u32 refuse_resize;
	u32 linear;
};

static struct answers answers;
static u8 *memory; /* ROOM bytes, and behind them the forbidden page */
/* The packet: its linear part begins here, and the rest of it lies elsewhere. */
static u8 *data;
static u32 linear;
static u8 rest[2 * LONGEST_FRAME];
static u32 rest_length;
static struct xdp_md *the_xdp;
static struct __sk_buff *the_skb;
static u32 redirected_to;

static void check(int holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "fast_path: %s\n", what);
		abort();
	}
}

static void publish(void)
{
	if (the_xdp) {
		the_xdp->data = (u32)(u64)data;
		the_xdp->data_end = (u32)(u64)(data + linear);
	}
	if (the_skb) {
		the_skb->data = (u32)(u64)data;
		the_skb->data_end = (u32)(u64)(data + linear);
		the_skb->len = linear + rest_length;
	}
}

/* Lays a packet out anew, with so much of it in the linear part. */
static void lay_out(const u8 *bytes, u32 length, u32 in_front)
{
	u8 whole[2 * LONGEST_FRAME];
	check(length <= sizeof(whole) && in_front <= length, "a packet of bounded length");
	memcpy(whole, bytes, length);
	memset(memory, 0xEE, ROOM);
	linear = in_front;
	data = memory + ROOM - in_front;
	memcpy(data, whole, in_front);
	rest_length = length - in_front;
	memcpy(rest, whole + in_front, rest_length);
	publish();
}

static u32 gather(u8 *whole)
{
	memcpy(whole, data, linear);
	memcpy(whole + linear, rest, rest_length);
	return linear + rest_length;
}

static void *bpf_map_lookup_elem(void *map, const void *key);
static long bpf_fib_lookup(void *context, struct bpf_fib_lookup *params, int length, u32 flags);

static u64 bpf_ktime_get_coarse_ns(void)
{
	return 1000;
}

static u32 bpf_get_prandom_u32(void)
{
	return 4;
}

static long bpf_redirect(u32 ifindex, u64 flags)
{
	check(flags == 0, "a redirection without flags");
	redirected_to = ifindex;
	return the_xdp ? XDP_REDIRECT : TCX_REDIRECT;
}

static long bpf_skb_load_bytes(const void *skb, u32 offset, void *to, u32 length)
{
	u8 whole[2 * LONGEST_FRAME];
	u32 has = gather(whole);
	check(skb == the_skb, "the packet at hand");
	if (offset > has || length > has - offset)
		return -14;
	memcpy(to, whole + offset, length);
	return 0;
}

/* Puts so many bytes in behind the link's header, or takes them out. */
static long resize_behind_link(int difference)
{
	u8 whole[2 * LONGEST_FRAME];
	u32 length = gather(whole);
	if (answers.refuse_resize || length < 14 || (difference < 0 && length < 14 + (u32)-difference))
		return -22;
	if (difference >= 0) {
		memmove(whole + 14 + difference, whole + 14, length - 14);
		memset(whole + 14, 0xDD, (u32)difference);
	} else {
		memmove(whole + 14, whole + 14 - difference, length - 14 + (u32)difference);
	}
	length += (u32)difference;
	/* What is put in is linear, and so is what was. */
	u32 front = linear + (u32)difference;
	lay_out(whole, length, front > length || (difference < 0 && linear < (u32)-difference) ? length : front);
	return 0;
}

static long bpf_skb_change_proto(struct __sk_buff *skb, u16 protocol, u64 flags)
{
	check(skb == the_skb && flags == 0, "the packet at hand");
	return resize_behind_link(protocol == htons(ETH_P_IPV6) ? 20 : -20);
}

static long bpf_skb_change_tail(struct __sk_buff *skb, u32 length, u64 flags)
{
	u8 whole[2 * LONGEST_FRAME];
	u32 has = gather(whole);
	check(skb == the_skb && flags == 0 && length <= has, "a packet is made shorter alone");
	if (answers.refuse_resize)
		return -22;
	lay_out(whole, length, linear < length ? linear : length);
	return 0;
}

static long bpf_skb_pull_data(struct __sk_buff *skb, u32 length)
{
	u8 whole[2 * LONGEST_FRAME];
	u32 has = gather(whole);
	check(skb == the_skb, "the packet at hand");
	if (length > has)
		return -12;
	if (length > linear)
		lay_out(whole, has, length);
	return 0;
}

static long bpf_skb_adjust_room(struct __sk_buff *skb, int difference, u32 mode, u64 flags)
{
	check(skb == the_skb && mode == BPF_ADJ_ROOM_MAC && flags == 0, "room behind the link's header");
	return resize_behind_link(difference);
}

static long bpf_xdp_adjust_head(struct xdp_md *xdp, int delta)
{
	check(xdp == the_xdp && delta >= -HEADROOM, "the packet at hand");
	if (answers.refuse_head || delta > (int)linear - 14)
		return -22;
	data += delta;
	linear -= (u32)delta;
	publish();
	return 0;
}

static long bpf_xdp_adjust_tail(struct xdp_md *xdp, int delta)
{
	u8 whole[2 * LONGEST_FRAME];
	check(xdp == the_xdp && delta < 0, "a packet is made shorter alone");
	if (answers.refuse_resize || -delta > (int)linear - 14)
		return -22;
	u32 length = gather(whole) - (u32)-delta;
	lay_out(whole, length, length);
	return 0;
}

#endif
