// Browsers that reach the server by TCP and by TLS, relay only.

import { relayedCall } from "./call.mjs";

/** By TCP, IPv4 and IPv6: the server that the UDP cases use listens there too. */
export async function tcpCases({ network }, browsers, server) {
  const given = { tcp4: server.iceServer(network.ipv4, "tcp") };
  if (network.isolated) given.tcp6 = server.iceServer(network.ipv6, "tcp");
  for (const kind of KINDS) {
    for (const [name, iceServer] of Object.entries(given)) {
      await browsers.case([kind], `${name} datachannel+video`, (...ends) =>
        relayedCall(...ends, { callerServers: [iceServer], relayProtocol: "tcp" }),
      );
    }
  }
  await browsers.case(KINDS, "tcp4 and udp4 datachannel+video", (...ends) =>
    relayedCall(...ends, { callerServers: [given.tcp4], calleeServers: [server.iceServer(network.ipv4)] }),
  );
}

/** By TLS, to a name: Firefox refuses to look at a certificate for an address. */
export async function tlsCases(browsers, server) {
  const named = server.secureIceServer("localhost");
  for (const kind of KINDS) {
    await browsers.case([kind], "tls by name datachannel+video", (...ends) =>
      relayedCall(...ends, { callerServers: [named], relayProtocol: "tls" }),
    );
  }
  await browsers.case(["chromium"], "tls by address datachannel+video", (...ends) =>
    relayedCall(...ends, { callerServers: [server.secureIceServer("127.0.0.1")], relayProtocol: "tls" }),
  );
  await browsers.case(KINDS, "tls and tcp datachannel+video", (...ends) =>
    relayedCall(...ends, { callerServers: [named], calleeServers: [server.iceServer("127.0.0.1", "tcp")] }),
  );
}

const KINDS = ["chromium", "firefox"];
