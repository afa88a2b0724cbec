// ALTERNATE-SERVER (RFC 8489 §10): one server that sends its clients to another of its kind.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { TurnServer, USER } from "../harness/server.mjs";
import { clientsFor, readSummary } from "./summary.mjs";

/** Runs a pairing's client at the first of two servers: what it relays must go through the second. */
export async function runAlternate(run, pairing) {
  await run.report.guard(SUITE, `${pairing.name}: alternate server`, async () => {
    const directory = join(run.workDirectory, SUITE, `${pairing.name.replace(/ /g, "_")}_alternate`);
    const { first, second } = await startTwo(run, pairing, directory, ["127.0.0.1", "127.0.0.2"]);
    try {
      for (const [transport, flags] of Object.entries(TRANSPORTS)) {
        await run.report.run(SUITE, `${pairing.name}: alternate server ${transport}`, async (at) => {
          const args = [...flags, "-y", "-X", "-c", "-g", "-n", String(MESSAGES)];
          args.push("-u", USER.username, "-w", USER.credential, "-p", String(first.port), first.addresses[0]);
          const log = join(at, "turnutils_uclient.log");
          const program = join(pairing.tools, "turnutils_uclient");
          const before = relaying(second);
          const client = run.processes.start(program, args, { log, lifetime: 60 });
          const status = await client.exited;
          const summary = readSummary(client.output);
          const expected = clientsFor({ rtcp: false, clientToClient: true }) * MESSAGES * LENGTH;
          if (status !== 0 || summary?.receivedBytes !== expected) {
            throw new Error(`exit status ${status}, ${summary?.receivedBytes} of ${expected} bytes: ${client.lastLines(3)}`);
          }
          if (relaying(first) > 0) throw new Error("the first server relays");
          if (relaying(second) === before) throw new Error("the second server relays nothing");
          return { detail: `${summary.receivedBytes} bytes through the second server` };
        });
      }
    } finally {
      await Promise.all([first, second].map((server) => server.stop()));
    }
  });
}

/** Two servers on these addresses, the first of which sends its clients to the second. */
export async function startTwo({ processes }, { server, ours }, directory, addresses, certificate) {
  const start = (name, listening, flags) => {
    const at = join(directory, name);
    mkdirSync(at, { recursive: true });
    const compatible = ours ? ["--rfc5766-channel-numbers"] : [];
    return TurnServer.start(processes, server, {
      addresses: [listening].flat(),
      directory: at,
      ours,
      certificate,
      flags: ["--allow-loopback-peers", ...compatible, ...flags],
    });
  };
  const second = await start("second", addresses[1], []);
  const lists = [`--alternate-server=${addresses[1]}:${second.port}`];
  if (certificate) lists.push(`--tls-alternate-server=${addresses[1]}:${second.port + 1}`);
  const first = await start("first", addresses[0], lists);
  return { first, second };
}

/** How many allocations a server has told of in its log. */
export function relaying(server) {
  return server.process.output.match(/: new, /g)?.length ?? 0;
}

const SUITE = "coturn-tools";
const TRANSPORTS = { udp: [], tcp: ["-t"] };
const MESSAGES = 5;
const LENGTH = 100; // bytes, as the client's default has it
