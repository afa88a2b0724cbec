/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Bytes a second (`max-bps`): what relayed addresses have spent of them, each way by itself.
 *
 * An account is a word for each way, the second of CLOCK_MONOTONIC in its upper half and the bytes spent in that second in
 * its lower one. User space maps the same words (crates/turn/src/bandwidth.rs): whoever relays a packet spends its bytes by
 * compare-and-swap, so there is one limit for all processors and both sides. What does not fit goes up, and is dropped
 * and counted there. */
#ifndef TURNPIKE_LIMITS_H
#define TURNPIKE_LIMITS_H

#include "tables.h"

/* In a second. */
#define NANOSECONDS 1000000000ULL
/* How often another one's spending at the same moment is put up with. */
#define ATTEMPTS 4

/* Where a flow's bytes are spent; a flow without a limit has none. */
INLINE u64 *account_of(const struct flow *flow)
{
	u32 index = flow->account;
	return bpf_map_lookup_elem(&accounts, &index);
}

/* Spends bytes, if they fit. A second that has begun for user space has begun: the program's clock is a tick behind. */
INLINE int spend(const struct flow *flow, u64 now, u32 bytes)
{
	if (!flow->rate)
		return 1;
	u32 second = (u32)(now / NANOSECONDS);
	u64 *account = account_of(flow);
	if (!account)
		return 0;
#pragma unroll
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		u64 before = *(volatile u64 *)account;
		u64 begun = before >> 32;
		u64 spent = begun < second ? 0 : (u32)before;
		spent += bytes;
		if (spent > flow->rate)
			return 0;
		u64 after = (begun < second ? second : begun) << 32 | spent;
		if (__sync_val_compare_and_swap(account, before, after) == before)
			return 1;
	}
	return 0;
}

/* Takes back what was spent for a packet that goes up all the same, and will be paid for there. A second that has begun in
 * between gets it, if something was spent in it: one packet more than its share. */
INLINE void unspend(const struct flow *flow, u32 bytes)
{
	u64 *account = flow->rate ? account_of(flow) : 0;
	if (!account)
		return;
#pragma unroll
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		u64 before = *(volatile u64 *)account;
		if ((u32)before < bytes || __sync_val_compare_and_swap(account, before, before - bytes) == before)
			return;
	}
}

#endif
