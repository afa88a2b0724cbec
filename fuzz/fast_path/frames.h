/* Reading and mending frames by other code than the program's. */
#ifndef TURNPIKE_FUZZ_FRAMES_H
#define TURNPIKE_FUZZ_FRAMES_H

#include "../../bpf/fast_path.h"

#include <string.h>

/* Address number `number` of a family. */
static struct address address(int ipv6, u8 number)
{
	struct address address = {};
	u8 *bytes = (u8 *)&address;
	if (ipv6) {
		bytes[0] = 0xFD;
	} else {
		bytes[10] = bytes[11] = 0xFF;
		bytes[12] = 10;
	}
	bytes[15] = number;
	return address;
}

static u32 sum_bytes(u32 sum, const u8 *bytes, u32 length)
{
	for (u32 index = 0; index < length; index++)
		sum += index & 1 ? bytes[index] : (u32)bytes[index] << 8;
	while (sum >> 16)
		sum = (sum & 0xFFFF) + (sum >> 16);
	return sum;
}

/* A UDP packet as it was read by other code than the program's. */
struct seen {
	struct flow_key key;
	const u8 *payload;
	u32 payload_length;
	u32 ends_at;
	int ipv6, has_sum, sum_is_right;
};

static u16 be16(const u8 *at)
{
	return (u16)(at[0] << 8 | at[1]);
}

/* Returns 0 for what a host would not take for a whole UDP packet. */
static int see(const u8 *frame, u32 length, struct seen *seen)
{
	u32 at = 12;
	memset(seen, 0, sizeof(*seen));
	while (at + 2 <= length && (be16(frame + at) == 0x8100 || be16(frame + at) == 0x88A8))
		at += 4;
	if (at + 2 > length)
		return 0;
	u16 type = be16(frame + at);
	const u8 *ip = frame + at + 2;
	u32 left = length - at - 2, header = type == 0x0800 ? 20 : 40, pseudo;
	if ((type != 0x0800 && type != 0x86DD) || left < header + 8)
		return 0;
	const u8 *udp = ip + header;
	u32 udp_length = be16(udp + 4);
	seen->ipv6 = type == 0x86DD;
	if (seen->ipv6) {
		if (ip[0] >> 4 != 6 || ip[6] != 17 || be16(ip + 4) != udp_length)
			return 0;
		memcpy(&seen->key.source, ip + 8, 32);
		pseudo = sum_bytes(0, ip + 8, 32);
	} else {
		if (ip[0] != 0x45 || ip[9] != 17 || be16(ip + 2) != 20 + udp_length || (be16(ip + 6) & 0xBFFF)
		    || sum_bytes(0, ip, 20) != 0xFFFF)
			return 0;
		seen->key.source = address(0, 0);
		seen->key.destination = address(0, 0);
		memcpy((u8 *)&seen->key.source + 12, ip + 12, 4);
		memcpy((u8 *)&seen->key.destination + 12, ip + 16, 4);
		pseudo = sum_bytes(0, ip + 12, 8);
	}
	if (udp_length < 8 || header + udp_length > left)
		return 0;
	memcpy(&seen->key.source_port, udp, 4);
	seen->payload = udp + 8;
	seen->payload_length = udp_length - 8;
	seen->ends_at = at + 2 + header + udp_length;
	seen->has_sum = udp[6] || udp[7];
	seen->sum_is_right = sum_bytes(pseudo + 17 + udp_length, udp, udp_length) == 0xFFFF;
	return 1;
}

static void correct_ipv4(u8 *frame, u32 length)
{
	u32 at = 12;
	while (at + 2 <= length && (be16(frame + at) == 0x8100 || be16(frame + at) == 0x88A8))
		at += 4;
	if (at + 22 > length || be16(frame + at) != 0x0800)
		return;
	u8 *ip = frame + at + 2;
	ip[10] = ip[11] = 0;
	u32 sum = ~sum_bytes(0, ip, 20);
	ip[10] = (u8)(sum >> 8);
	ip[11] = (u8)sum;
}

#endif
