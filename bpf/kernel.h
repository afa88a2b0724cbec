/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What of the kernel's interface the fast path uses, and no more: written down here so that building it needs nothing
 * but clang. Layouts and numbers are fixed by the kernel for ever. */
#ifndef TURNPIKE_KERNEL_H
#define TURNPIKE_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define htons(value) ((u16)__builtin_bswap16((u16)(value)))
#define ntohs(value) htons(value)

/* Verdicts of an XDP program. */
enum { XDP_ABORTED = 0, XDP_DROP = 1, XDP_PASS = 2, XDP_TX = 3, XDP_REDIRECT = 4 };
/* Verdicts of a tc program; NEXT hands the packet to whatever comes after this program. */
enum { TCX_NEXT = -1, TCX_DROP = 2, TCX_REDIRECT = 7 };

enum { AF_INET = 2, AF_INET6 = 10 };
enum { IPPROTO_UDP = 17 };
enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86DD, ETH_P_8021Q = 0x8100, ETH_P_8021AD = 0x88A8 };
/* The packet is for this host's own hardware address. */
enum { PACKET_HOST = 0 };

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PERCPU_ARRAY = 6 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1024 };
enum { BPF_ADJ_ROOM_MAC = 1 };
enum { BPF_FIB_LKUP_RET_SUCCESS = 0, BPF_FIB_LKUP_RET_FRAG_NEEDED = 8 };

/* The context of an XDP program. */
struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

/* The context of a tc program. */
struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol;
	u32 vlan_present;
	u32 vlan_tci;
	u32 vlan_proto;
	u32 priority;
	u32 ingress_ifindex;
	u32 ifindex;
	u32 tc_index;
	u32 cb[5];
	u32 hash;
	u32 tc_classid;
	u32 data;
	u32 data_end;
	u32 napi_id;
	u32 family;
	u32 remote_ip4;
	u32 local_ip4;
	u32 remote_ip6[4];
	u32 local_ip6[4];
	u32 remote_port;
	u32 local_port;
	u32 data_meta;
	u64 flow_keys;
	u64 tstamp;
	u32 wire_len;
	u32 gso_segs;
	u64 sk;
	u32 gso_size;
};

/* A question to the routing table, and its answer. */
struct bpf_fib_lookup {
	u8 family;
	u8 l4_protocol;
	u16 sport;
	u16 dport;
	u16 tot_len;
	u32 ifindex;
	u32 flowinfo; /* in the first byte, for IPv4, the type of service */
	u32 source[4];
	u32 destination[4];
	u32 vlan;
	u8 smac[6];
	u8 dmac[6];
};

struct bpf_map_def {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 map_flags;
};

/* fuzz/fast_path runs the program outside the kernel, and brings its own. */
#ifndef HELPERS_ELSEWHERE
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u32 (*const bpf_get_prandom_u32)(void) = (void *)7;
static long (*const bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const bpf_skb_load_bytes)(const void *skb, u32 offset, void *to, u32 length) = (void *)26;
static long (*const bpf_skb_change_proto)(struct __sk_buff *skb, u16 protocol, u64 flags) = (void *)31;
static long (*const bpf_skb_change_tail)(struct __sk_buff *skb, u32 length, u64 flags) = (void *)38;
static long (*const bpf_skb_pull_data)(struct __sk_buff *skb, u32 length) = (void *)39;
static long (*const bpf_xdp_adjust_head)(struct xdp_md *xdp, int delta) = (void *)44;
static long (*const bpf_skb_adjust_room)(struct __sk_buff *skb, int difference, u32 mode, u64 flags) = (void *)50;
static long (*const bpf_xdp_adjust_tail)(struct xdp_md *xdp, int delta) = (void *)65;
static long (*const bpf_fib_lookup)(void *context, struct bpf_fib_lookup *params, int length, u32 flags) = (void *)69;
static u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)160;
#endif

#endif
