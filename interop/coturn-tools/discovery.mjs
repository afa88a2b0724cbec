// NAT behaviour discovery (RFC 5780): turnutils_natdiscovery and turnutils_stunclient against a server on two addresses.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { isExecutable } from "../harness/programs.mjs";
import { TurnServer } from "../harness/server.mjs";

/** Runs a pairing's tools; there is no NAT, so each must find that everything comes through. */
export async function runDiscovery(run, pairing) {
  const { network, report } = run;
  const pairs = { 4: ["127.0.0.1", "127.0.0.2"], 6: network.isolated ? [network.ipv6, network.otherIpv6] : undefined };
  for (const [family, addresses] of Object.entries(pairs)) {
    const name = `${pairing.name}: natdiscovery IPv${family}`;
    if (!addresses) report.missing(SUITE, name, "a network namespace, for two IPv6 addresses");
    else if (!isExecutable(join(pairing.tools, TOOL))) report.missing(SUITE, name, TOOL);
    else await report.guard(SUITE, name, () => runFamily(run, pairing, family, addresses));
  }
}

async function runFamily({ report, processes, workDirectory }, pairing, family, addresses) {
  const directory = join(workDirectory, SUITE, `${pairing.name.replace(/ /g, "_")}_discovery_${family}`);
  mkdirSync(directory, { recursive: true });
  const server = await TurnServer.start(processes, pairing.server, {
    addresses,
    directory,
    ours: pairing.ours,
    // On by itself in coturn 4.6.1, which does not know the option.
    flags: pairing.ours ? ["--rfc5780"] : [],
  });
  const tool = async (program, flags, at) => {
    const args = [...flags, "-p", String(server.port), addresses[0]];
    const log = join(at, `${program}.log`);
    const running = processes.start(join(pairing.tools, program), args, { log, lifetime: TOOL_LIFETIME });
    const status = await running.exited;
    if (status !== 0) throw new Error(`${flags.join(" ")}: exit status ${status}: ${running.lastLines(2)}`);
    return running.output;
  };
  try {
    for (const [name, flags, wanted] of NATDISCOVERY) {
      await report.run(SUITE, `${pairing.name}: natdiscovery ${name} IPv${family}`, async (at) => {
        const output = await tool(TOOL, flags({ address: addresses[0], other: addresses[1] }), at);
        const missing = wanted.find((line) => !line.test(output));
        if (missing) throw new Error(`nothing fits ${missing}`);
        const silent = output.match(/STUN receive timeout/g);
        if (silent) throw new Error(`${silent.length} questions were not answered`);
        return { detail: wanted.map((line) => line.exec(output)[0]).join(", ") };
      });
    }
    await report.run(SUITE, `${pairing.name}: stunclient RFC 5780 IPv${family}`, async (at) => {
      const output = await steps(tool, at);
      const count = output.match(/RFC 5780 response \d/g)?.length ?? 0;
      if (count < 3) throw new Error(`${count} responses`);
      return { detail: `${count} responses` };
    });
  } finally {
    await server.stop();
  }
}

/** coturn's tool takes the port after its first one for the response, which somebody else may hold. */
async function steps(tool, at) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const output = await tool("turnutils_stunclient", [], at);
      if (!output.includes("Address already in use") || attempt === ATTEMPTS) return output;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  }
}

const SUITE = "coturn-tools";
const TOOL = "turnutils_natdiscovery";
const TOOL_LIFETIME = 30; // seconds
const ATTEMPTS = 5;
// coturn's tool asks from whatever address the system picks for each question. On one host with both addresses these
// differ as if a NAT had changed them, hence -L; and it calls no NAT one that depends on nothing unless -L is given.
const MAPPING = /(No NAT! \(|NAT with )Endpoint Independent Mapping/;
const FILTERING = /NAT with Endpoint Independent Filtering/;
const NATDISCOVERY = [
  ["-m -f", ({ address }) => ["-m", "-f", "-L", address], [MAPPING, FILTERING, /No ALG: Mapped == XOR-Mapped/]],
  ["-m -f -P", ({ address }) => ["-m", "-f", "-P", "-L", address], [MAPPING, FILTERING]],
  ["-H", () => ["-H"], [/Received a request \(maybe a successful hairpinning\)/]],
  ["-t -T 1", () => ["-t", "-T", "1"], [/RFC 5780 response 2/]],
  ["-c", ({ address, other }) => ["-c", "-L", address, "-A", other], [/RFC 5780 response 2/]],
];
