/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The tables that the loader fills, and counters. */
#ifndef TURNPIKE_TABLES_H
#define TURNPIKE_TABLES_H

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

/* limits.h; user space maps it into its memory. */
struct bpf_map_def SECTION("maps") accounts = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u64),
	.max_entries = 131072,
	.map_flags = BPF_F_MMAPABLE,
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

INLINE void count(u32 outcome)
{
	u64 *counter = bpf_map_lookup_elem(&outcomes, &outcome);
	if (counter)
		*counter += 1;
}

INLINE const struct settings *rules(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&settings, &zero);
}

INLINE struct usage *usage_of(const struct flow *flow)
{
	u32 index = flow->counter;
	return bpf_map_lookup_elem(&usage, &index);
}

INLINE void count_usage(struct usage *usage, u32 bytes)
{
	usage->packets += 1;
	usage->bytes += bytes;
}

#endif
