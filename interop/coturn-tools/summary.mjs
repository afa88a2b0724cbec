// The final counters of turnutils_uclient. Progress lines before them show equal counters even when packets are lost
// later, and the exit status is 0 with any loss, so only these lines are proof.

/** Reads the final counters, or gives undefined when the client never got that far. */
export function readSummary(output) {
  const messages = last(output, /start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\s*$/gm);
  const bytes = last(output, /start_mclient: tot_send_bytes ~ (\d+), tot_recv_bytes ~ (\d+)\s*$/gm);
  const lost = last(output, /Total lost packets (-?\d+) \([^)]*\), total send dropped (-?\d+)/gm);
  if (!messages || !bytes || !lost) return undefined;
  return {
    sentMessages: messages[0],
    receivedMessages: messages[1],
    sentBytes: bytes[0],
    receivedBytes: bytes[1],
    lost: lost[0],
    dropped: lost[1],
  };
}

/**
 * How many clients the tool makes of `-m count`: an RTP and RTCP pair counts as two, and clients that talk to each
 * other come in pairs as well.
 */
export function clientsFor({ count = 1, rtcp = true, clientToClient = false }) {
  const group = (rtcp ? 2 : 1) * (clientToClient ? 2 : 1);
  return Math.ceil(count / group) * group;
}

function last(output, pattern) {
  const matches = [...output.matchAll(pattern)];
  return matches.at(-1)?.slice(1).map(Number);
}
