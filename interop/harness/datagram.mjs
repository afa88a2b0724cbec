// Waiting for a UDP service to come up: asks until it answers.

import { createSocket } from "node:dgram";
import { randomBytes } from "node:crypto";

import { within } from "./processes.mjs";

/** Resolves once a datagram sent to `address` and `port` is answered, by whatever. */
export async function answers(address, port, datagram = bindingRequest(), seconds = 15) {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("error", () => {}); // refused until somebody listens
  const answered = new Promise((resolve) => socket.once("message", resolve));
  const ask = () => socket.send(datagram, port, address, () => {});
  const asking = setInterval(ask, 50);
  ask();
  try {
    await within(seconds, `answer from ${address} port ${port}`, answered);
  } finally {
    clearInterval(asking);
    socket.close();
  }
}

// RFC 8489 §5: a Binding request without attributes.
function bindingRequest() {
  return Buffer.concat([Buffer.from([0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42]), randomBytes(12)]);
}
