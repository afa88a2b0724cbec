// Chromium and Firefox through the server under test, relay only: with itself, with each other, and where they must be
// refused.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { makeCertificate } from "../harness/certificate.mjs";
import { onPath } from "../harness/programs.mjs";
import { TurnServer } from "../harness/server.mjs";
import { alternateCases } from "./alternate.mjs";
import { connected, End, openPage, relayedCall, relayOnly, signal } from "./call.mjs";
import { fromArgument, mintRest, startTurnpikeUp, turnpikeCredentials } from "./credentials.mjs";
import { launch, servePage } from "./launch.mjs";
import { tcpCases, tlsCases } from "./streams.mjs";

export async function runBrowsers(run) {
  if (!run.iceServers && !run.programs.server) return run.report.missing(SUITE, "all", run.programs.serverPath);
  const directory = join(run.workDirectory, SUITE);
  mkdirSync(directory, { recursive: true });
  const canTrust = onPath("certutil");
  const certificate = canTrust && makeCertificate(join(directory, "certificate"), ["127.0.0.1", run.network.ipv4]);
  const browsers = new Browsers(run, directory, await servePage(), certificate?.authority);
  try {
    if (run.iceServers) return await givenServer(run, browsers);
    // On loopback coturn has to be asked to let even its own clients talk to each other.
    const flags = run.network.isolated || run.programs.turnpike ? [] : ["--allow-loopback-peers"];
    await withServer(run, directory, "static", { flags }, async (server) => {
      await ordinaryCases(run, browsers, server);
      await tcpCases(run, browsers, server);
    });
    // On a host of its own the server has no loopback address that browsers could reach.
    if (run.network.serverHost) return;
    if (certificate) {
      const options = { certificate, addresses: ["127.0.0.1"], flags: ["--allow-loopback-peers"] };
      await withServer(run, directory, "tls", options, (server) => tlsCases(browsers, server));
    } else run.report.missing(SUITE, "tls", canTrust ? "openssl" : "certutil");
    await withServer(run, directory, "rest", { flags, secret: true }, (server) =>
      restCases(run, browsers, directory, server),
    );
    await peerCases(run, browsers, directory);
    await alternateCases(run, browsers, directory, certificate);
    await firstRunCases(run, browsers, directory);
  } finally {
    await browsers.stop();
  }
}

/** The browsers, each started when first needed and kept for all cases. */
class Browsers {
  #run;
  #directory;
  #site;
  #authority;
  #started = new Map();

  constructor(run, directory, site, authority) {
    this.#authority = authority;
    this.#run = run;
    this.#directory = directory;
    this.#site = site;
  }

  /** Runs a case that needs a page in each of `kinds`; with one kind both ends live in its page. */
  async case(kinds, name, body) {
    const label = `${kinds.join(" to ")} ${name}`;
    const absent = kinds.find((kind) => !this.#run.programs[kind]);
    if (absent) return this.#run.report.missing(SUITE, label, absent);
    await this.#run.report.run(SUITE, label, async (at) => {
      const pages = [];
      try {
        for (const kind of kinds) pages.push(await openPage(await this.#browser(kind), this.#site.url));
        return await body(new End(pages[0], "caller"), new End(pages.at(-1), "callee"));
      } catch (error) {
        const pictures = pages.map((page, index) => page.screenshot({ path: join(at, `${kinds[index]}.png`) }));
        await Promise.allSettled(pictures);
        throw error;
      } finally {
        await Promise.allSettled(pages.map((page) => page.close()));
      }
    });
  }

  async stop() {
    this.#site.stop();
    await Promise.allSettled([...this.#started.values()].map((browser) => browser.close()));
  }

  async #browser(kind) {
    if (!this.#started.get(kind)?.connected) {
      const program = this.#run.programs[kind];
      this.#started.set(kind, await launch(kind, program, this.#directory, this.#authority));
    }
    return this.#started.get(kind);
  }
}

async function ordinaryCases({ network, report }, browsers, server) {
  const given = { udp4: server.iceServer(network.ipv4) };
  // Firefox wants an IPv6 address that is not loopback before it uses IPv6 at all.
  if (network.isolated) given.udp6 = server.iceServer(network.ipv6);
  else report.missing(SUITE, "udp6", "a network namespace, for an IPv6 address");
  const servers = (name) => ({ callerServers: [given[name]], relayProtocol: "udp" });
  for (const kind of KINDS) {
    for (const name of Object.keys(given)) {
      await browsers.case([kind], `${name} datachannel+video`, (...ends) => relayedCall(...ends, servers(name)));
    }
    await browsers.case([kind], "udp4 wrong password", (end) => wrongPassword(end, given.udp4));
  }
  for (const pair of [KINDS, REVERSED]) {
    await browsers.case(pair, "udp4 datachannel+video", (...ends) => relayedCall(...ends, servers("udp4")));
  }
  if (!given.udp6) return;
  await browsers.case(KINDS, "udp4 and udp6 datachannel+video", (...ends) =>
    relayedCall(...ends, { ...servers("udp4"), calleeServers: [given.udp6] }),
  );
}

async function restCases(run, browsers, directory, server) {
  for (const kind of KINDS) {
    await browsers.case([kind], "REST credentials datachannel+video", async (...ends) => {
      const credentials = await mintRest(run, directory);
      const callerServers = [{ ...server.iceServer(run.network.ipv4), ...credentials }];
      return relayedCall(...ends, { callerServers, relayProtocol: "udp" });
    });
  }
}

/** What the server's peer rules decide: a relayed end against one that offers its own addresses, and own clients. */
async function peerCases(run, browsers, directory) {
  const { network, programs } = run;
  await ownClientsCases(run, browsers, directory);
  if (!network.isolated) {
    return run.report.missing(SUITE, "unrelayed peers", "a network namespace, for addresses that are not the server's");
  }
  // coturn lets private ranges through unless told otherwise; ours refuses them unless told otherwise.
  const peers = [network.ipv4, network.peer4];
  const refusing = programs.turnpike ? [] : peers.map((address) => `--denied-peer-ip=${address}`);
  const allowing = programs.turnpike ? peers.map((address) => `--allowed-peer-ip=${address}`) : [];
  const addresses = [network.ipv4];
  await withServer(run, directory, "refusing", { addresses, flags: refusing }, async (server) => {
    for (const kind of KINDS) {
      await browsers.case([kind], "unrelayed peer is refused", (...ends) => refusedPeer(...ends, server));
    }
  });
  await withServer(run, directory, "allowing", { addresses, flags: allowing }, async (server) => {
    for (const kind of KINDS) {
      await browsers.case([kind], "unrelayed peer is reached when allowed", (...ends) => allowedPeer(...ends, server));
    }
  });
}

/** Two clients on loopback: ours lets them talk without being asked, coturn has to be. */
async function ownClientsCases(run, browsers, directory) {
  const flags = run.programs.turnpike ? [] : ["--allow-loopback-peers"];
  await withServer(run, directory, "loopback", { addresses: ["127.0.0.1"], flags }, async (server) => {
    for (const kind of KINDS) {
      await browsers.case([kind], "own clients on loopback datachannel+video", (...ends) =>
        relayedCall(...ends, { callerServers: [server.iceServer("127.0.0.1")], relayProtocol: "udp" }),
      );
    }
  });
}

/** `turnpike up` as a person would run it: what it prints is what the browsers are given. */
async function firstRunCases(run, browsers, directory) {
  if (!run.programs.turnpike) return;
  await run.report.guard(SUITE, "turnpike up", async () => {
    const up = await startTurnpikeUp(run, directory);
    for (const kinds of [["chromium"], ["firefox"], KINDS]) {
      await browsers.case(kinds, "turnpike up datachannel+video", (...ends) =>
        relayedCall(...ends, { callerServers: up.iceServers, relayProtocol: "udp" }),
      );
    }
    await browsers.case(["chromium"], "turnpike credentials after turnpike up datachannel+video", async (...ends) => {
      const uris = [up.iceServers[0].urls].flat().flatMap((uri) => ["--uri", uri]);
      const callerServers = await turnpikeCredentials(run, directory, uris, up.environment);
      return relayedCall(...ends, { callerServers, relayProtocol: "udp" });
    });
    const status = await up.process.stop("SIGINT");
    if (status !== 0) throw new Error(`exit status ${status} after Ctrl-C: ${up.process.lastLines(3)}`);
  });
}

/** The positive cases against a server that already runs somewhere. */
async function givenServer(run, browsers) {
  const callerServers = fromArgument(run.iceServers);
  for (const kinds of [["chromium"], ["firefox"], KINDS, REVERSED]) {
    await browsers.case(kinds, "given server datachannel+video", (...ends) => relayedCall(...ends, { callerServers }));
  }
}

async function wrongPassword(end, iceServer) {
  await end.create({ configuration: relayOnly([{ ...iceServer, credential: "not the password" }]) });
  await end.do("offer");
  const { candidates, errors } = await end.do("facts");
  if (candidates.length > 0) throw new Error(`candidates in spite of it: ${JSON.stringify(candidates)}`);
  if (!errors.some(({ errorCode }) => errorCode === 401)) throw new Error(`no error 401: ${JSON.stringify(errors)}`);
  return { detail: "icecandidateerror 401" };
}

async function createHalfRelayed(caller, callee, server) {
  await caller.create({ configuration: relayOnly([server.iceServer(server.addresses[0])]) });
  await callee.create({ configuration: {} });
  await signal(caller, callee);
}

async function refusedPeer(caller, callee, server) {
  await createHalfRelayed(caller, callee, server);
  const { candidates } = await caller.do("facts");
  if (!candidates.some(({ type }) => type === "relay")) throw new Error("no relayed candidate to begin with");
  const state = await caller.do("givenUp", REFUSAL_LIMIT);
  return { detail: `ICE ${state}` };
}

async function allowedPeer(caller, callee, server) {
  await createHalfRelayed(caller, callee, server);
  await connected(caller, callee);
  const { pair } = await caller.do("facts");
  if (pair?.local.type !== "relay") throw new Error(`connected around the relay: ${JSON.stringify(pair)}`);
  return { detail: `relay to ${pair.remote.type}` };
}

/** Runs `body` with a server of its own, whose start and end are part of what is judged. */
async function withServer(run, directory, name, options, body) {
  const at = join(directory, name);
  mkdirSync(at, { recursive: true });
  await run.report.guard(SUITE, `${name} server`, async () => {
    const server = await TurnServer.start(run.processes, run.programs.server, {
      addresses: [run.network.ipv4, run.network.ipv6],
      directory: at,
      ours: Boolean(run.programs.turnpike),
      ...options,
    });
    await body(server);
    await server.stop();
    if (run.network.serverHost) await kernelCase(run, server);
  });
}

/** How much of it the kernel relayed, as the server says at its end: none would be a run that proves nothing. */
async function kernelCase(run, server) {
  await run.report.run(SUITE, "the kernel relays", async () => {
    const relayed = server.relayedByKernel();
    if (relayed === 0) throw new Error(`the kernel relayed nothing: ${server.process.lastLines(3)}`);
    return { detail: `${relayed} packets` };
  });
}

const SUITE = "browsers";
const KINDS = ["chromium", "firefox"];
const REVERSED = [...KINDS].reverse();
const REFUSAL_LIMIT = 6; // seconds; a connection that is possible is there in one
