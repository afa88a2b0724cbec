// Browsers that are sent from one server to another (ALTERNATE-SERVER, RFC 8489 §10).

import { join } from "node:path";

import { relaying, startTwo } from "../coturn-tools/alternate.mjs";
import { relayedCall } from "./call.mjs";

export async function alternateCases(run, browsers, directory, certificate) {
  const { ipv4, isolated } = run.network;
  // Chromium follows to no loopback address.
  if (!isolated) return run.report.missing("browsers", "alternate server", "a network namespace, for its address");
  await run.report.guard("browsers", "alternate server", async () => {
    const pairing = { server: run.programs.server, ours: Boolean(run.programs.turnpike) };
    const addresses = [[ipv4, "127.0.0.1"], ipv4];
    const { first, second } = await startTwo(run, pairing, join(directory, "alternate"), addresses, certificate);
    try {
      for (const kind of ["chromium", "firefox"]) {
        const given = {
          udp: first.iceServer(ipv4, "udp"),
          tcp: first.iceServer(ipv4, "tcp"),
          tls: first.secureIceServer("localhost"),
        };
        // By TLS Firefox goes to the name it was given, with the other port: it would arrive nowhere.
        if (kind === "firefox" || !certificate) delete given.tls;
        for (const [transport, iceServer] of Object.entries(given)) {
          await browsers.case([kind], `${transport} alternate server datachannel+video`, async (...ends) => {
            const before = relaying(second);
            const measured = await relayedCall(...ends, { callerServers: [iceServer], relayProtocol: transport });
            if (relaying(first) > 0) throw new Error("the first server relays");
            if (relaying(second) === before) throw new Error("the second server relays nothing");
            return measured;
          });
        }
      }
    } finally {
      await Promise.all([first, second].map((server) => server.stop()));
    }
  });
}
