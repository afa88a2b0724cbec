// Our load tester against Debian's coturn: it must get on with a server that is not ours, and lose nothing to it.

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { makeCertificate } from "../harness/certificate.mjs";
import { isExecutable } from "../harness/programs.mjs";
import { TurnServer, USER } from "../harness/server.mjs";

export async function runLoad({ programs, processes, report, workDirectory }) {
  const tester = join(programs.tools, "turnpike");
  if (!isExecutable(tester)) return report.missing(SUITE, "turnpike load", "turnpike");
  const directory = join(workDirectory, SUITE, "load");
  mkdirSync(directory, { recursive: true });
  const certificate = makeCertificate(join(directory, "certificate"), ["127.0.0.1"]);
  if (!certificate) throw new Error("openssl is missing");
  const server = await TurnServer.start(processes, programs.reference.server, {
    addresses: ["127.0.0.1"],
    directory,
    ours: false,
    flags: ["--allow-loopback-peers"],
    certificate,
  });
  const uris = {
    UDP: `turn:127.0.0.1:${server.port}`,
    TCP: `turn:127.0.0.1:${server.port}?transport=tcp`,
    // TLS is on the port after the first one.
    TLS: `turns:127.0.0.1:${server.port + 1}`,
  };
  const who = ["--user", USER.username, "--password", USER.credential];
  try {
    for (const [transport, uri] of Object.entries(uris)) {
      for (const [profile, flags] of Object.entries(PROFILES)) {
        await report.run(SUITE, `turnpike load: ${profile} over ${transport}`, async (at) => {
          const json = join(at, "result.json");
          const trust = transport === "TLS" ? ["--ca-file", certificate.authority] : [];
          const args = ["load", uri, ...who, ...trust, "--profile", profile, ...flags, "--duration", "1s", "--json", json];
          const running = processes.start(tester, args, { log: join(at, "load.log"), lifetime: LIFETIME });
          const status = await running.exited;
          if (status !== 0) throw new Error(`exit status ${status}: ${running.lastLines(2)}`);
          return { detail: lossless(JSON.parse(readFileSync(json, "utf8"))) };
        });
      }
    }
  } finally {
    await server.stop();
  }
}

function lossless({ series, profile }) {
  for (const { name, sent, received } of series) {
    if (sent === 0 || received !== sent) throw new Error(`${name}: ${sent} sent, ${received} received`);
  }
  return series.map(({ name, received }) => `${received} ${profile.name} ${name}`).join(", ");
}

const SUITE = "coturn-tools";
const LIFETIME = 30; // seconds
const PROFILES = {
  audio: ["--calls", "4"],
  churn: ["--rate", "10"],
  binding: ["--rate", "100", "--clients", "2"],
};
