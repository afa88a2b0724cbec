/* The kernel's program outside the kernel: what it reads, and what becomes of what it forwards.
 *
 * `fuzz_one` takes any bytes: a few say what the world is like, the others are a frame. It aborts when something does not
 * hold: a packet that is passed up is untouched; one that is forwarded has the addresses, the channel and the data it has
 * to have, lengths that agree, a right IPv4 header sum, and a UDP checksum as right or wrong as before; nothing is read
 * beyond its end. `main` replays seeds and seeded damage, unless libFuzzer brings its own. */

#include "helpers.h"

#include "../../bpf/fast_path.c"

#include "frames.h"

enum { FLOWS = 4, SETUP = 8 };
enum { LIMIT = 350 };
enum { CLIENTS_DEVICE = 2, PEERS_DEVICE = 3, VLAN_INTERFACE = 9 };

struct entry {
	struct flow_key key;
	struct flow flow;
};

static struct entry ups[FLOWS], downs[FLOWS];
static struct usage usages[2 * FLOWS];
static u64 counters[OUTCOMES];
static struct settings the_settings;
static struct interface wires[2], vlan_wire;
static struct ports the_ports;
/* As large as what else tables hold: the compiler thinks of all of them. */
static u32 vlan_interface[2] = {VLAN_INTERFACE};
/* What is spent of limits, and was before the packet. */
static u64 spent[2 * FLOWS], spent_before[2 * FLOWS];
static u64 forwarded;

static const u8 hardware[6] = {2, 0, 0, 0, 1, 1};
static const u8 next_hop[6] = {2, 0, 0, 0, 9, 9};

static struct flow *find(struct entry *entries, const struct flow_key *key)
{
	for (int index = 0; index < FLOWS; index++)
		if (!memcmp(&entries[index].key, key, sizeof(*key)))
			return &entries[index].flow;
	return 0;
}

static void *bpf_map_lookup_elem(void *map, const void *key)
{
	u32 number = *(const u32 *)key;
	if (map == &up_flows)
		return find(ups, key);
	if (map == &down_flows)
		return find(downs, key);
	if (map == &usage)
		return number < 2 * FLOWS ? &usages[number] : 0;
	if (map == &accounts)
		return number < 2 * FLOWS ? &spent[number] : 0;
	if (map == &outcomes)
		return number < OUTCOMES ? &counters[number] : 0;
	if (map == &ports)
		return number == 3478 / 64 || number == 50000 / 64 ? &the_ports : 0;
	if (map == &settings)
		return &the_settings;
	if (map == &interfaces)
		return number == VLAN_INTERFACE ? &vlan_wire
			: number - CLIENTS_DEVICE < 2 ? &wires[number - CLIENTS_DEVICE] : 0;
	const struct vlan_key *vlan = key;
	check(map == &vlans, "a table that there is");
	return vlan->device == CLIENTS_DEVICE && vlan->tags[0].number == 7 && !vlan->tags[1].type ? vlan_interface : 0;
}

static long bpf_fib_lookup(void *context, struct bpf_fib_lookup *params, int length, u32 flags)
{
	check(context && length == sizeof(*params) && !flags && params->ifindex == 1, "a question as it should be");
	if (params->tot_len > answers.mtu)
		return BPF_FIB_LKUP_RET_FRAG_NEEDED;
	if (answers.route_result > 1)
		return answers.route_result;
	params->tot_len = (u16)answers.mtu;
	params->ifindex = answers.route_result ? VLAN_INTERFACE : PEERS_DEVICE;
	memcpy(params->smac, hardware, 6);
	memcpy(params->dmac, next_hop, 6);
	return 0;
}

static struct flow flow_to(const struct flow_key *from_to, u16 channel, u16 flags, u32 counter)
{
	struct flow flow = {.deadline = 2000, .channel = channel, .flags = flags, .counter = counter, .edition = counter};
	flow.account = counter;
	flow.source = from_to->source;
	flow.destination = from_to->destination;
	flow.source_port = from_to->source_port;
	flow.destination_port = from_to->destination_port;
	const u16 *words = (const u16 *)from_to;
	u32 sum = 0;
	for (int index = 0; index < 18; index++)
		sum += words[index];
	flow.sum = fold(sum);
	return flow;
}

/* Limits for three of the calls, with so much spent already, in this second or in one that others have begun. */
static void limit_world(u8 already)
{
	for (int index = 0; index < 2 * FLOWS; index++) {
		int limited = index / 2 != 2;
		spent[index] = spent_before[index] = (u64)(already & 1) << 32 | (u8)(already + 60 * index);
		ups[index / 2].flow.rate = limited ? LIMIT : 0;
		downs[index / 2].flow.rate = limited ? LIMIT : 0;
	}
}

/* Whether everybody who had to pay has paid, and nobody else. */
static void verify_spending(const struct flow *flow, const struct flow *second, u32 length)
{
	for (u32 index = 0; index < 2 * FLOWS; index++) {
		int pays = (flow && flow->rate && flow->account == index) || (second && second->rate && second->account == index);
		check(spent[index] == spent_before[index] + (pays ? length : 0), "bytes are paid for once, by whom they are of");
		check(!pays || (u32)spent[index] <= LIMIT, "not more than there is");
	}
}

/* Four calls, one for each pair of families; the first two's peers are each other's relayed addresses if `meet`. */
static void make_world(u8 meet, u8 expired, u8 fresh)
{
	memset(usages, 0, sizeof(usages));
	memset(counters, 0, sizeof(counters));
	memset(spent, 0, sizeof(spent));
	memset(spent_before, 0, sizeof(spent_before));
	the_settings = (struct settings){.routes_from = {1, 1}, .time_to_live = 64, .hop_limit = 63};
	the_settings.route_for = 1000;
	the_settings.fresh_for = fresh ? 10 : 0;
	the_ports = (struct ports){.listening = 1ULL << (3478 & 63), .relayed = 0};
	for (u32 port = 50000; port < 50004; port++)
		the_ports.relayed |= 1ULL << (port & 63);
	for (int index = 0; index < 2; index++) {
		wires[index] = (struct interface){.device = CLIENTS_DEVICE + index, .turns_back = index};
		memcpy(wires[index].address, hardware, 6);
	}
	vlan_wire = wires[0];
	vlan_wire.tag_count = 1;
	vlan_wire.tags[0] = (struct tag){htons(ETH_P_8021Q), 7};
	for (u8 number = 0; number < FLOWS; number++) {
		int client6 = number & 1, peer6 = number >> 1;
		u16 channel = htons(0x4000 + number), relayed_port = htons(50000 + number), peer_port = htons(30000 + number);
		u16 own = meet && number < 2 ? FLOW_OWN_PEER : 0;
		struct address relayed = address(peer6, 1), peer = address(peer6, own ? 1 : 20 + number);
		if (own)
			peer_port = htons(50000 + 1 - number);
		struct flow_key up = {address(client6, 10 + number), address(client6, 1), htons(20000), htons(3478), channel, 0};
		struct flow_key out = {relayed, peer, relayed_port, peer_port, 0, 0};
		struct flow_key down = {peer, relayed, peer_port, relayed_port, 0, 0};
		struct flow_key back = {up.destination, up.source, up.destination_port, up.source_port, 0, 0};
		ups[number] = (struct entry){up, flow_to(&out, 0, (peer6 ? FLOW_IPV6 : 0) | own, 2 * number)};
		downs[number] = (struct entry){down, flow_to(&back, channel, (client6 ? FLOW_IPV6 : 0) | own, 2 * number + 1)};
		if (expired & 1 << number)
			downs[number].flow.deadline = 1000;
		if (expired & 16 << number)
			ups[number].flow.deadline = 1000;
		if (fresh & 1 << number)
			ups[number].flow.fresh_until = 500;
	}
}

/* What a forwarded packet has to be, worked out from the tables alone. */
static void verify_forwarded(const u8 *before, u32 before_length, const u8 *after, u32 after_length)
{
	struct seen in, out;
	check(see(before, before_length, &in), "only what a host would accept is forwarded");
	check(see(after, after_length, &out), "what is forwarded is sound");
	check(out.ends_at == after_length, "nothing is left behind the packet");
	const u8 *bytes = in.payload;
	u32 length = in.payload_length;
	struct flow_key key = in.key;
	const struct flow *flow = 0, *second = 0;
	if (key.destination_port == htons(3478) && length >= 4) {
		memcpy(&key.channel, bytes, 2);
		flow = find(ups, &key);
		check(flow != 0 && be16(bytes + 2) <= length - 4, "a channel that there is");
		length = be16(bytes + 2);
		bytes += 4;
		if (flow->flags & FLOW_OWN_PEER) {
			struct flow_key on = {flow->source, flow->destination, flow->source_port, flow->destination_port, 0, 0};
			second = find(downs, &on);
			check(second != 0, "the client behind the address");
		}
	} else {
		second = find(downs, &key);
		check(second != 0 && !(second->flags & FLOW_OWN_PEER), "a peer that there is");
	}
	const struct flow *last = second ? second : flow;
	check((!flow || flow->deadline > 1000) && last->deadline > 1000, "before the deadline");
	struct flow_key expected = {last->source, last->destination, last->source_port, last->destination_port, 0, 0};
	check(!memcmp(&expected, &out.key, sizeof(expected)), "from and to whom it has to be");
	if (second) {
		check(out.payload_length == length + 4 && !memcmp(out.payload, &second->channel, 2)
			&& be16(out.payload + 2) == length, "as data of the channel");
		out.payload += 4;
		out.payload_length -= 4;
	}
	check(out.payload_length == length && !memcmp(out.payload, bytes, length), "the data as it was");
	check(in.has_sum == out.has_sum && (!in.has_sum || in.sum_is_right == out.sum_is_right), "a sum as right as before");
	check(out.has_sum || !out.ipv6, "a sum where IPv6 must have one");
	check(!memcmp(after, next_hop, 6) && !memcmp(after + 6, hardware, 6), "to the next hop");
	check(usages[last->counter].packets == 1 && usages[last->counter].bytes == length, "counted for its flow");
	check(counters[FORWARDED] == 1 && !counters[LOST], "counted once");
	verify_spending(flow, second, length);
	forwarded++;
}

static int run(enum point point, u32 ingress)
{
	struct xdp_md xdp = {.ingress_ifindex = ingress};
	struct __sk_buff skb = {.ifindex = ingress};
	the_xdp = point == POINT_XDP ? &xdp : 0;
	the_skb = point == POINT_TC ? &skb : 0;
	publish();
	int verdict = the_xdp ? fast_path_xdp(&xdp) : fast_path_tc(&skb);
	the_xdp = 0;
	the_skb = 0;
	return verdict;
}

static void fuzz_one(const u8 *input, size_t size)
{
	u8 before[LONGEST_FRAME], after[2 * LONGEST_FRAME];
	if (!memory) {
		memory = mmap(0, ROOM + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
		check(memory != MAP_FAILED && !mprotect(memory + ROOM, PAGE, PROT_NONE), "memory for packets");
	}
	if (size < SETUP + 14 || size > SETUP + LONGEST_FRAME)
		return;
	u32 length = (u32)size - SETUP;
	memcpy(before, input + SETUP, length);
	if (input[0] & 2)
		correct_ipv4(before, length);
	enum point point = input[0] & 1 ? POINT_TC : POINT_XDP;
	make_world(input[0] & 4, input[1], input[2]);
	if (input[0] & 8)
		limit_world(input[5]);
	answers = (struct answers){.route_result = input[3] & 15, .mtu = 60 + 8 * input[4]};
	answers.refuse_head = (input[5] & 1) != 0;
	answers.refuse_resize = (input[5] & 2) != 0;
	u32 front = point == POINT_TC && input[6] ? 14u + input[6] : length;
	lay_out(before, length, front < length ? front : length);
	int verdict = run(point, input[7] & 1 ? PEERS_DEVICE : CLIENTS_DEVICE);
	u32 after_length = gather(after);
	if (verdict == (point == POINT_XDP ? XDP_PASS : TCX_NEXT)) {
		check(after_length == length && !memcmp(before, after, length), "what is passed up is untouched");
		for (int index = 0; index < 2 * FLOWS; index++)
			check(usages[index].packets == 0, "what is passed up is not counted as relayed");
		verify_spending(0, 0, 0);
	} else if (verdict == (point == POINT_XDP ? XDP_DROP : TCX_DROP)) {
		check(counters[LOST] == 1 && answers.refuse_resize, "only what cannot be changed is lost");
	} else {
		check(verdict == (point == POINT_XDP ? XDP_REDIRECT : TCX_REDIRECT) || verdict == XDP_TX, "a verdict that there is");
		verify_forwarded(before, length, after, after_length);
	}
}

/* Frames of every kind of call: way 0 up, 1 down; returns the input's length. */
static u32 make_seed(u8 *input, u8 number, int way, u8 setup, u32 data_length, int tagged, u32 padding)
{
	make_world(setup & 4, 0, 0);
	const struct flow_key *key = way ? &downs[number].key : &ups[number].key;
	int ipv6 = way ? number >> 1 : number & 1;
	memset(input, 0, SETUP);
	input[0] = setup;
	input[4] = 200;
	u8 *at = input + SETUP;
	memcpy(at, hardware, 6);
	memset(at + 6, 3, 6);
	at += 12;
	if (tagged) {
		memcpy(at, (u8[]){0x81, 0, 0x20, 7}, 4);
		at += 4;
	}
	u32 udp_length = 8 + data_length + (way ? 0 : 4 + padding), pseudo;
	memcpy(at, ipv6 ? (u8[]){0x86, 0xDD} : (u8[]){8, 0}, 2);
	at += 2;
	if (ipv6) {
		memset(at, 0, 40);
		at[0] = 0x60;
		at[4] = (u8)(udp_length >> 8);
		at[5] = (u8)udp_length;
		at[6] = 17;
		at[7] = 9;
		memcpy(at + 8, key, 32);
		pseudo = sum_bytes(0, at + 8, 32);
		at += 40;
	} else {
		memset(at, 0, 20);
		at[0] = 0x45;
		at[2] = (u8)((20 + udp_length) >> 8);
		at[3] = (u8)(20 + udp_length);
		at[8] = 9;
		at[9] = 17;
		memcpy(at + 12, (const u8 *)&key->source + 12, 4);
		memcpy(at + 16, (const u8 *)&key->destination + 12, 4);
		pseudo = sum_bytes(0, at + 12, 8);
		at += 20;
	}
	u8 *udp = at;
	memcpy(udp, &key->source_port, 4);
	udp[4] = (u8)(udp_length >> 8);
	udp[5] = (u8)udp_length;
	udp[6] = udp[7] = 0;
	at += 8;
	if (!way) {
		memcpy(at, &key->channel, 2);
		at[2] = (u8)(data_length >> 8);
		at[3] = (u8)data_length;
		at += 4;
	}
	for (u32 index = 0; index < data_length; index++)
		*at++ = (u8)(index * 7 + number);
	/* Behind the data of a channel there may be zeros, up to three of them. */
	for (u32 index = 0; !way && index < padding; index++)
		*at++ = index == 3 ? 0x5A : 0;
	u32 sum = 0xFFFF & ~sum_bytes(pseudo + 17 + udp_length, udp, udp_length);
	sum = sum ? sum : 0xFFFF;
	udp[6] = (u8)(sum >> 8);
	udp[7] = (u8)sum;
	u32 length = (u32)(at - input);
	correct_ipv4(input + SETUP, length - SETUP);
	return length;
}

__attribute__((unused)) static u32 seed(u32 index, u8 *input)
{
	static const u32 lengths[] = {0, 1, 160, 1001};
	int way = index >> 2 & 1;
	return make_seed(input, index & 3, way, (u8)((index >> 3 & 7) | (index % 5 == 3) << 3), lengths[index >> 6 & 3], index % 11 == 5, index % 7);
}

enum { SEEDS = 256 };

#ifdef LIBFUZZER
int LLVMFuzzerTestOneInput(const u8 *input, size_t size);
int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	fuzz_one(input, size);
	return 0;
}
#else
static u64 state;

static u32 random_below(u32 limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (u32)(state >> 32) % limit;
}

static u32 damage(u8 *input, u32 length)
{
	u32 at = random_below(length), headers = SETUP + 14 + 40 + 12;
	switch (random_below(7)) {
	case 0:
		input[random_below(length)] = (u8)random_below(256);
		return length;
	case 1: /* mostly among headers, and put right again */
		input[SETUP + random_below((length < headers ? length : headers) - SETUP)] ^= (u8)(1 << random_below(8));
		input[0] |= 2;
		return length;
	case 2:
		return at < SETUP + 14 ? length : at;
	case 3:
		memset(input + length, (int)random_below(2) * 0x5A, 3);
		return length + 1 + random_below(3);
	case 5: /* no sum, if that is where it stands */
		at = SETUP + 14 + (random_below(2) ? 26 : 46);
		if (at + 2 <= length)
			input[at] = input[at + 1] = 0;
		return length;
	case 4:
		input[random_below(SETUP)] = (u8)random_below(256);
		return length;
	default:
		input[6] = (u8)random_below(80);
		return length;
	}
}

static void replay(const char *path)
{
	u8 input[SETUP + LONGEST_FRAME];
	FILE *file = fopen(path, "rb");
	check(file != 0, "an input that can be read");
	fuzz_one(input, fread(input, 1, sizeof(input), file));
	fclose(file);
}

/* fast_path INPUTS [SEED], or files to replay, or --seeds DIRECTORY to write them. */
int main(int count, char **words)
{
	u8 input[SETUP + LONGEST_FRAME];
	if (count == 3 && !strcmp(words[1], "--seeds")) {
		for (u32 index = 0; index < SEEDS; index++) {
			char path[4096];
			snprintf(path, sizeof(path), "%s/%03u", words[2], index);
			FILE *file = fopen(path, "wb");
			check(file != 0, "a file that can be written");
			u32 length = seed(index, input);
			fwrite(input, 1, length, file);
			fclose(file);
		}
		return 0;
	}
	u32 inputs = count > 1 ? (u32)strtoul(words[1], 0, 10) : 0;
	if (count > 1 && !inputs) {
		for (int index = 1; index < count; index++)
			replay(words[index]);
		return 0;
	}
	state = 0x9E3779B97F4A7C15ULL + (count > 2 ? strtoull(words[2], 0, 10) : 0);
	for (u32 index = 0; index < SEEDS; index++)
		fuzz_one(input, seed(index, input));
	u64 whole = forwarded;
	for (u32 index = 0; index < inputs; index++) {
		u32 length = seed(random_below(SEEDS), input);
		for (u32 times = random_below(3); times; times--)
			length = damage(input, length);
		fuzz_one(input, length);
	}
	printf("fast_path: %u seeds, %llu forwarded; %u inputs, %llu forwarded\n", SEEDS, whole, inputs, forwarded - whole);
	/* Frames that were tried on neither of the program's roads would prove nothing. */
	check(whole > SEEDS / 2 && forwarded - whole > inputs / 8, "enough of them are forwarded");
	return 0;
}
#endif
