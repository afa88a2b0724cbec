/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Frames as a driver delivers them, for measurements: `inject` makes each one that BPF_PROG_TEST_RUN hands to it a
 * packet of the next flow and sends it out of a device, at a pace; `receive` counts what comes back and drops it. */

#include "../../bpf/kernel.h"

/* Ethernet, IPv4, UDP and ChannelData: 46 bytes, and room to a multiple of eight. */
struct headers {
	u16 words[24];
};
#define HEADER_WORDS 23
#define MOST_FLOWS 1024
/* A frame of 160 bytes of payload, once its channel is taken off. */
#define RELAYED (14 + 20 + 8 + 160)

struct pace {
	u32 device;
	u32 flows;
	/* The next frame's flow. */
	u32 next;
	/* Frames of one group, and how many of the present one are still to go. */
	u32 group;
	u32 left;
	u32 unused;
	/* Nanoseconds between groups, 0 for no pause at all; and when the next one is due. */
	u64 period;
	u64 due;
};

/* The first and the last bytes of the payload of a frame that counts as whole. */
struct expected {
	u64 begin;
	u64 end;
};

struct received {
	u64 whole;
	u64 other;
};

static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;

struct bpf_map_def SECTION("maps") headers = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct headers),
	.max_entries = MOST_FLOWS,
};

struct bpf_map_def SECTION("maps") pace = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct pace),
	.max_entries = 1,
};

struct bpf_map_def SECTION("maps") expected = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct expected),
	.max_entries = 1,
};

struct bpf_map_def SECTION("maps") received = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(struct received),
	.max_entries = 1,
};

/* Groups of looks at the clock at most; each group takes some 150 ns. */
#define LOOKS 8000
/* Groups that may be made up for after a delay. */
#define CATCH_UP 1

INLINE void wait_for_group(struct pace *pace)
{
	u64 now = bpf_ktime_get_ns();
	if (now > pace->due + CATCH_UP * pace->period)
		pace->due = now;
	u64 due = pace->due;
#pragma nounroll
	for (int look = 0; look < LOOKS; look++) {
		u64 time = 0;
		/* The verifier follows so many branches and no more; so not each look is one. */
#pragma unroll
		for (int again = 0; again < 8; again++)
			time = bpf_ktime_get_ns();
		if (time >= due)
			break;
	}
	pace->due = due + pace->period;
	pace->left = pace->group;
}

SECTION("xdp") int inject(struct xdp_md *xdp)
{
	u32 zero = 0;
	struct pace *pace_now = bpf_map_lookup_elem(&pace, &zero);
	u8 *data = (void *)(u64)xdp->data;
	if (!pace_now || (void *)(data + sizeof(struct headers)) > (void *)(u64)xdp->data_end)
		return XDP_ABORTED;
	if (pace_now->period) {
		if (!pace_now->left)
			wait_for_group(pace_now);
		pace_now->left -= 1;
	}
	u32 flow = pace_now->next;
	pace_now->next = flow + 1 < pace_now->flows ? flow + 1 : 0;
	const struct headers *new = bpf_map_lookup_elem(&headers, &flow);
	if (!new)
		return XDP_ABORTED;
	/* Whoever had this frame before may have written other headers. */
#pragma unroll
	for (int word = 0; word < HEADER_WORDS; word++)
		((u16 *)data)[word] = new->words[word];
	return bpf_redirect(pace_now->device, 0);
}

SECTION("xdp") int receive(struct xdp_md *xdp)
{
	u32 zero = 0;
	const struct expected *whole = bpf_map_lookup_elem(&expected, &zero);
	struct received *count = bpf_map_lookup_elem(&received, &zero);
	u8 *data = (void *)(u64)xdp->data;
	u8 *end = (void *)(u64)xdp->data_end;
	/* Ethernet, IPv4, UDP, and the first eight bytes of the payload. */
	if (!whole || !count || data + 50 > end)
		return XDP_PASS;
	if (*(u16 *)(data + 12) != htons(ETH_P_IP) || data[23] != IPPROTO_UDP)
		return XDP_PASS;
	if (end - data == RELAYED && data + RELAYED <= end && *(u64 *)(data + 42) == whole->begin
	    && *(u64 *)(data + RELAYED - 8) == whole->end)
		count->whole += 1;
	else
		count->other += 1;
	return XDP_DROP;
}

char license_name[] SECTION("license") = "Dual MIT/GPL";
