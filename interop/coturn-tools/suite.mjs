// coturn's command-line tools against the server under test, and ours against Debian's coturn.

import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";

import { makeCertificate } from "../harness/certificate.mjs";
import { answers } from "../harness/datagram.mjs";
import { freePort, SECRET, TurnServer, USER } from "../harness/server.mjs";
import { runAlternate } from "./alternate.mjs";
import { runDiscovery } from "./discovery.mjs";
import { runLoad } from "./load.mjs";
import { runProxied } from "./proxy.mjs";
import { clientsFor, readSummary } from "./summary.mjs";
import { runTokens } from "./tokens.mjs";
import { DATA_VARIANTS, HOSTILE_VARIANTS, REFUSED_VARIANTS } from "./variants.mjs";

export async function runCoturnTools(run) {
  const { programs, report } = run;
  const { reference } = programs;
  const pairings = [
    {
      name: "coturn client",
      tools: reference.client && dirname(reference.client),
      server: programs.server,
      ours: Boolean(programs.turnpike),
    },
    { name: "our client", tools: programs.tools, server: reference.server, ours: false },
  ];
  if (run.network.serverHost) return runAcross(run, pairings[0]);
  const complete = pairings.filter(({ name, tools, server }) => {
    if (!tools) report.missing(SUITE, name, "turnutils_uclient");
    else if (!server) report.missing(SUITE, name, "turnserver");
    return tools && server;
  });
  const guarded = (pairing) => report.guard(SUITE, `${pairing.name}: its servers`, () => runPairing(run, pairing));
  await Promise.all(complete.map(guarded));
  for (const pairing of complete) await runDiscovery(run, pairing);
  for (const pairing of complete) await runAlternate(run, pairing);
  if (programs.turnpike) await runProxied(run);
  for (const pairing of complete) await runTokens(run, pairing);
  if (programs.tools && reference.server) await report.guard(SUITE, "turnpike load", () => runLoad(run));
  if (programs.server && reference.client) await tutorialCase(run, dirname(reference.client));
  if (programs.turnpike && programs.tools) await vectorsCase(run);
}

/** Coturn's client with the server on a host of its own, so that the kernel may relay what goes between them. */
async function runAcross(run, pairing) {
  const { report, programs } = run;
  if (!programs.turnpike || !pairing.tools) return report.missing(SUITE, pairing.name, "our server and turnutils_uclient");
  await report.guard(SUITE, `${pairing.name}: its servers`, () =>
    runPairing(run, pairing, (bench) =>
      report.run(SUITE, "the kernel relays", async () => ({ detail: `${await bench.relayedByKernel()} packets` })),
    ),
  );
}

async function runPairing(run, pairing, atTheEnd = (bench) => bench.stop()) {
  const directory = join(run.workDirectory, SUITE, pairing.name.replace(/ /g, "_"));
  mkdirSync(directory, { recursive: true });
  const bench = await Bench.start(run, pairing, directory);
  const across = Boolean(run.network.serverHost);
  try {
    // What a service at the server's own address gets cannot be seen from another host.
    const refused = REFUSED_VARIANTS.filter(({ silently }) => !(across && silently));
    const here = DATA_VARIANTS.filter((variant) => (variant.pairing ?? pairing.name) === pairing.name).filter(
      ({ onLoopback }) => !(across && onLoopback),
    );
    const cases = [
      ...here.map((variant) => [variant.name, (at) => dataCase(bench, variant, at)]),
      ...refused.map((variant) => [variant.name, (at) => refusedCase(bench, variant, at)]),
      ...HOSTILE_VARIANTS.map((variant) => [variant.name, (at) => hostileCase(bench, variant, at)]),
      ...[4, 6].map((family) => [`stunclient IPv${family}`, (at) => bindingCase(bench, family, at)]),
    ];
    // Two of our own clients reach each other whatever the peer rules say; coturn refuses them on loopback.
    if (pairing.ours) cases.push(...OWN_CLIENTS.map((variant) => [variant.name, (at) => dataCase(bench, variant, at)]));
    await runTogether(cases, (name, body) => run.report.run(SUITE, `${pairing.name}: ${name}`, body));
  } finally {
    await atTheEnd(bench);
  }
}

/** Runs the cases a few at a time: the tools spend their time waiting. */
async function runTogether(cases, runCase) {
  const queue = [...cases];
  const lane = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) await runCase(...next);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

/** The servers and the echo peer that all cases of a pairing share. */
class Bench {
  constructor(run, pairing, places, servers, peer, certificate) {
    this.run = run;
    this.pairing = pairing;
    this.places = places;
    this.servers = servers;
    this.peer = peer;
    this.certificate = certificate;
  }

  static async start(run, pairing, directory) {
    // Debian's client picks channel numbers above the range that RFC 8656 leaves.
    const compatible = pairing.ours ? ["--rfc5766-channel-numbers"] : [];
    const places = placesOf(run.network);
    const { server } = places;
    const certificate = makeCertificate(join(directory, "certificate"), [server[4], server[6]]);
    if (!certificate) throw new Error("openssl is missing");
    let port = run.network.serverHost ? FIRST_PORT : undefined;
    const start = (name, flags, more = {}) => {
      const at = join(directory, name);
      mkdirSync(at, { recursive: true });
      const taken = port;
      if (port) port += PORTS_OF_EACH;
      return TurnServer.start(run.processes, pairing.server, {
        addresses: [server[4], server[6]],
        directory: at,
        ours: pairing.ours,
        port: taken,
        flags: [...compatible, ...flags],
        ...more,
      });
    };
    const servers = {
      open: await start("open", places.open, { certificate }),
      secret: await start("secret", places.open, { secret: true }),
      guarded: await start("guarded", []),
      // Several threads: a client that moves is likely to come to another.
      mobile: await start("mobile", [...places.open, "--mobility", "-m", "4"], { certificate }),
    };
    const peer = await startPeer(run, pairing, places, directory);
    return new Bench(run, pairing, places, servers, peer, certificate);
  }

  /** Runs one of the pairing's tools and gives the ended process. */
  async tool(program, args, at, lifetime = CLIENT_LIFETIME) {
    const log = join(at, `${program}.log`);
    const running = this.run.processes.start(join(this.pairing.tools, program), args, { log, lifetime });
    return { status: await running.exited, output: running.output, tail: running.lastLines(2) };
  }

  client(variant, at, lifetime) {
    return this.tool("turnutils_uclient", clientArguments(this, variant), at, lifetime);
  }

  /** Runs turnutils_stunclient and gives the reflexive address it printed. */
  async binding(family, at) {
    const { server, client } = this.places;
    const args = ["-p", String(this.servers.open.port), server[family]];
    let ended = await this.tool("turnutils_stunclient", args, at);
    // Offered RFC 5780, coturn's tool takes the port after its first one, which another case may hold.
    for (let again = 0; again < 5 && ended.output.includes("Address already in use"); again += 1) {
      ended = await this.tool("turnutils_stunclient", args, at);
    }
    const { status, output, tail } = ended;
    if (status !== 0) throw new Error(`exit status ${status}: ${tail}`);
    // coturn 4.6.1 writes IPv6 addresses without brackets, ours with them.
    const reflexive = new RegExp(`IPv${family}\\. UDP reflexive addr: (\\[?${client[family]}\\]?:\\d+)`).exec(output);
    if (!reflexive) throw new Error(`no reflexive address: ${tail}`);
    return reflexive[1];
  }

  /** Fails unless the server still answers. */
  async alive(server) {
    const { port, process } = this.servers[server];
    if (!process.alive) throw new Error(`the server ended: ${process.lastLines(3)}`);
    await answers(this.places.server[4], port);
  }

  /** Ends everything; how many packets the kernel relayed for the servers, as they say at their end. */
  async relayedByKernel() {
    await this.stop();
    const relayed = Object.values(this.servers).reduce((sum, server) => sum + server.relayedByKernel(), 0);
    if (relayed === 0) throw new Error("the kernel relayed nothing: a run that proves nothing");
    return relayed;
  }

  async stop() {
    await Promise.all([...Object.values(this.servers), this.peer].map((each) => each.stop()));
  }
}

/**
 * Where the servers, their clients and peers are, and what opens the peers to clients: all on loopback, or the servers on a
 * host of their own.
 */
function placesOf({ serverHost, ipv4, ipv6 }) {
  if (!serverHost) {
    const loopback = { 4: "127.0.0.1", 6: "::1" };
    return { server: loopback, client: loopback, peer: loopback, beside4: "127.0.0.2", open: ["--allow-loopback-peers"] };
  }
  const [network4, network6] = [ipv4.replace(/\.\d+$/, ""), ipv6.replace(/::.*/, "::")];
  const here = { 4: `${network4}.2`, 6: `${network6}2` };
  const open = [`--allowed-peer-ip=${network4}.0/24`, `--allowed-peer-ip=${network6}/64`];
  return { server: { 4: ipv4, 6: ipv6 }, client: here, peer: here, beside4: here[4], open };
}

async function startPeer(run, pairing, { peer, beside4 }, directory) {
  const port = await freePort(peer[4]);
  const addresses = [...new Set([peer[4], beside4, peer[6]])];
  const args = [...addresses.flatMap((address) => ["-L", address]), "-p", String(port)];
  const running = run.processes.start(join(pairing.tools, "turnutils_peer"), args, {
    log: join(directory, "turnutils_peer.log"),
    lifetime: 120,
  });
  for (const address of [peer[4], peer[6]]) await answers(address, port, "are you there?");
  return { port, stop: () => running.stop() };
}

function clientArguments({ places, servers, peer, certificate }, variant) {
  const server = servers[variant.server];
  const peers = {
    echo4: ["-e", places.peer[4], "-r", String(peer.port), "-X"],
    beside4: ["-e", places.beside4, "-r", String(peer.port), "-X"],
    echo6: ["-e", places.peer[6], "-r", String(peer.port), "-x"],
    clients: ["-y", variant.family === 6 ? "-x" : "-X"],
  };
  const proof =
    variant.server === "secret" ? ["-W", variant.secret ?? SECRET] : ["-w", variant.password ?? USER.credential];
  const transport = { udp: [], tcp: ["-t"], tls: ["-t", "-S"], dtls: ["-S"] }[variant.transport];
  // TLS and DTLS are on the port after the first one.
  const port = ["tls", "dtls"].includes(variant.transport) ? server.port + 1 : server.port;
  return [
    ...transport,
    ...(variant.trusting ? ["-E", certificate.authority] : []),
    ...peers[variant.peer],
    ...variant.flags,
    ...["-u", variant.username ?? USER.username, ...proof],
    ...["-p", String(port), places.server[variant.family]],
  ];
}

async function dataCase(bench, variant, at) {
  const ended = await bench.client(variant, at);
  const { mostLostByEach, lostByTheirs } = variant;
  const allowed = bench.pairing.name === "coturn client" ? lostByTheirs : undefined;
  return checkLoss(ended, { ...variant, mostLostByEach: allowed ?? mostLostByEach });
}

function checkLoss({ status, output, tail }, { flags, clients, messages, length, peer, mostLostByEach = 0 }) {
  if (status !== 0) throw new Error(`exit status ${status}: ${tail}`);
  const summary = readSummary(output);
  if (!summary) throw new Error(`no final summary: ${tail}`);
  const count = clientsFor({ ...clients, clientToClient: peer === "clients" });
  const expected = count * messages * length;
  const { sentBytes, receivedBytes, lost, dropped } = summary;
  const mostLost = mostLostByEach * count;
  if (sentBytes !== expected || receivedBytes !== expected - lost * length || lost > mostLost || dropped !== 0) {
    throw new Error(
      `${flags.join(" ")}: expected ${expected} bytes each way, sent ${sentBytes}, received ${receivedBytes}, ` +
        `lost ${lost}, dropped ${dropped}`,
    );
  }
  return { detail: `${receivedBytes} bytes, ${lost} lost`, ...summary };
}

async function refusedCase(bench, variant, at) {
  const { status, output, tail } = await bench.client(variant, at);
  const summary = readSummary(output);
  if (summary?.receivedBytes) throw new Error(`relayed ${summary.receivedBytes} bytes`);
  // A permission names no port: on an address where relayed ports are, the packets are refused one by one.
  if (variant.silently && status === 0 && summary?.sentBytes) {
    await bench.alive(variant.server);
    return { detail: `${summary.sentBytes} bytes sent, none relayed` };
  }
  if (status === 0) throw new Error("exit status 0");
  const told = variant.word.exec(output);
  if (!told) throw new Error(`exit status ${status} for another reason: ${tail}`);
  await bench.alive(variant.server);
  return { detail: `exit status ${status}, "${told[0]}"` };
}

async function hostileCase(bench, variant, at) {
  await bench.client(variant, at, HOSTILE_LIFETIME);
  await bench.alive(variant.server);
  const ordinary = DATA_VARIANTS.find(({ name }) => name === "channels -c");
  return dataCase(bench, ordinary, at);
}

async function bindingCase(bench, family, at) {
  return { detail: await bench.binding(family, at) };
}

/** The line that popular tutorials start with, on the port they expect it on. */
async function tutorialCase({ programs, processes, network, report }, tools) {
  const name = "tutorial line --external-ip";
  if (!network.isolated) return report.missing(SUITE, name, "a network namespace, for port 3478");
  await report.run(SUITE, name, async (at) => {
    const flags = [
      "-v",
      "--lt-cred-mech",
      "--user",
      "hello:world",
      "--realm",
      "example.org",
      "--external-ip",
      EXTERNAL,
    ];
    const server = processes.start(programs.server, flags, {
      log: join(at, "turnserver.log"),
      lifetime: 60,
      directory: at,
    });
    await answers(network.ipv4, 3478);
    // By Send and Data: Debian's client picks channel numbers above the range that is granted by default.
    const args = ["-v", "-y", "-c", "-s", "-u", "hello", "-w", "world", network.ipv4];
    const log = join(at, "turnutils_uclient.log");
    const client = processes.start(join(tools, "turnutils_uclient"), args, { log, lifetime: CLIENT_LIFETIME });
    const status = await client.exited;
    if (!server.alive) throw new Error(`the server ended: ${server.lastLines(2)}`);
    await server.stop();
    const relayed = new RegExp(`relay addr: ${EXTERNAL.replaceAll(".", "\\.")}:\\d+`);
    if (!relayed.test(client.output)) throw new Error(`no relayed address on ${EXTERNAL}`);
    // With several local addresses coturn may send what is for its external address to the wrong one of them.
    if (!programs.turnpike) return { detail: `relayed address on ${EXTERNAL}` };
    const variant = { flags: args, clients: { rtcp: false }, messages: 5, length: 100, peer: "clients" };
    return checkLoss({ status, output: client.output, tail: client.lastLines(2) }, variant);
  });
}

/** Our turnutils_rfc5769check; Debian ships none to compare with. */
async function vectorsCase({ programs, processes, report }) {
  await report.run(SUITE, "our turnutils_rfc5769check", async (at) => {
    const program = join(programs.tools, "turnutils_rfc5769check");
    const check = processes.start(program, [], { log: join(at, "rfc5769check.log"), lifetime: 20 });
    const status = await check.exited;
    const vectors = check.output.match(/result: success/g)?.length ?? 0;
    if (status !== 0 || vectors === 0)
      throw new Error(`exit status ${status}, ${vectors} vectors: ${check.lastLines(2)}`);
    return { detail: `${vectors} vectors` };
  });
}

const SUITE = "coturn-tools";
/** Of servers on a host of their own, whose ports are free: the first one's, and how many each takes. */
const FIRST_PORT = 3478;
const PORTS_OF_EACH = 10;
const LANES = 6;
const CLIENT_LIFETIME = 60; // seconds
const HOSTILE_LIFETIME = 8;
const EXTERNAL = "203.0.113.7";
const OWN_CLIENTS = [
  { name: "own clients reach each other by default", transport: "udp", flags: ["-c"] },
  { name: "tcp: own clients reach each other by default -T", transport: "tcp", flags: ["-T"] },
].map((variant) => ({
  server: "guarded",
  family: 4,
  peer: "clients",
  clients: { rtcp: false },
  messages: 5,
  length: 100,
  ...variant,
}));
