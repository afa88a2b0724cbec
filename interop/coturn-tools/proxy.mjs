// HAProxy in front of our server: what it says of its clients by the PROXY protocol is believed, and others come in as
// before. coturn has no proxied TLS, and gives up its plain listener for proxied TCP.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";

import { makeCertificate } from "../harness/certificate.mjs";
import { freePort, TurnServer, USER } from "../harness/server.mjs";
import { clientsFor, readSummary } from "./summary.mjs";

export async function runProxied({ programs, processes, report, workDirectory }) {
  const name = "behind HAProxy";
  if (!programs.haproxy) return report.missing(SUITE, name, "haproxy");
  await report.guard(SUITE, name, async () => {
    const directory = join(workDirectory, SUITE, "haproxy");
    mkdirSync(directory, { recursive: true });
    const certificate = makeCertificate(join(directory, "certificate"), [SERVER]);
    if (!certificate) throw new Error("openssl is missing");
    const proxyPort = await freePort(SERVER);
    const server = await TurnServer.start(processes, programs.server, {
      addresses: [SERVER],
      directory,
      certificate,
      ours: true,
      flags: [
        "--allow-loopback-peers",
        "--rfc5766-channel-numbers",
        `--proxy-from=${BALANCER}`,
        `--tcp-proxy-port=${proxyPort}`,
      ],
    });
    const { haproxy, ways } = await startBalancer({ programs, processes }, directory, server, proxyPort, certificate);
    const clients = { "coturn client": programs.reference.client && dirname(programs.reference.client) };
    clients["our client"] = programs.tools;
    try {
      const cases = Object.entries(clients).flatMap(([client, tools]) => ways.map((way) => ({ client, tools, way })));
      // Each has an address of its own, by which the log tells them apart: they mostly wait.
      const runCase = ({ client, tools, way }, index) => {
        const label = `${client}: ${name}, ${way.name}`;
        if (!tools) return report.missing(SUITE, label, "turnutils_uclient");
        const program = join(tools, "turnutils_uclient");
        return report.run(SUITE, label, (at) => relayed(processes, program, server, way, `127.0.0.${10 + index}`, at));
      };
      await Promise.all(cases.map(runCase));
      if (!haproxy.alive) throw new Error(`HAProxy ended: ${haproxy.lastLines(3)}`);
    } finally {
      await haproxy.stop();
      await server.stop();
    }
  });
}

/** HAProxy with a port for each way to the server, the health checks of one of which must succeed. */
async function startBalancer({ programs, processes }, directory, server, proxyPort, certificate) {
  const pem = join(directory, "haproxy.pem");
  writeFileSync(pem, readFileSync(certificate.cert, "utf8") + readFileSync(certificate.pkey, "utf8"));
  const secure = server.port + 1;
  const ways = [
    { name: "TCP, send-proxy", to: server.port, options: "send-proxy" },
    { name: "TCP, send-proxy-v2", to: server.port, options: "send-proxy-v2" },
    { name: "TCP, tcp-proxy-port with checksum", to: proxyPort, options: "send-proxy-v2 proxy-v2-options crc32c,unique-id" },
    { name: "TCP, health checks", to: proxyPort, options: "send-proxy-v2 check inter 100ms fall 1 rise 1" },
    { name: "TLS, send-proxy", to: secure, options: "send-proxy", tls: true },
    { name: "TLS, send-proxy-v2", to: secure, options: "send-proxy-v2", tls: true },
    { name: "TLS on tcp-proxy-port", to: proxyPort, options: "send-proxy-v2", tls: true },
    { name: "TLS ended by HAProxy", to: proxyPort, options: "send-proxy-v2-ssl-cn", tls: true, bind: ` ssl crt ${pem}` },
  ];
  const lines = ["global", "defaults", "  mode tcp", "  timeout connect 5s", "  timeout client 1m", "  timeout server 1m"];
  for (const [index, way] of ways.entries()) {
    way.port = await freePort(FRONT);
    lines.push(`listen way${index}`, `  bind ${FRONT}:${way.port}${way.bind ?? ""}`);
    lines.push(`  server turn ${SERVER}:${way.to} source ${BALANCER} ${way.options}`);
  }
  const file = join(directory, "haproxy.cfg");
  writeFileSync(file, `${lines.join("\n")}\n`);
  const log = join(directory, "haproxy.log");
  const haproxy = processes.start(programs.haproxy, ["-db", "-V", "-f", file], { log, lifetime: 300 });
  // It says nothing when it is ready.
  for (const { port } of ways) await connects(FRONT, port, haproxy);
  // Without a proxy, by the same port as through one.
  ways.push({ name: "TCP beside it", port: server.port, address: SERVER }, { name: "UDP beside it", port: server.port, address: SERVER, udp: true });
  return { haproxy, ways };
}

/** Waits until a connection to `address` and `port` succeeds. */
async function connects(address, port, running) {
  for (let attempt = 0; attempt < 100 && running.alive; attempt += 1) {
    const socket = connect({ host: address, port });
    const connected = await new Promise((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (connected) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`nothing listens on ${address}:${port}: ${running.lastLines(3)}`);
}

/** Two clients that talk to each other: nothing is lost, and the server's log names their address. */
async function relayed(processes, program, server, way, own, at) {
  const transport = way.tls ? ["-t", "-S"] : way.udp ? [] : ["-t"];
  const args = [...transport, "-y", "-X", "-c", "-g", "-n", String(MESSAGES), "-L", own];
  args.push("-u", USER.username, "-w", USER.credential, "-p", String(way.port), way.address ?? FRONT);
  const client = processes.start(program, args, { log: join(at, "turnutils_uclient.log"), lifetime: 60 });
  const status = await client.exited;
  const summary = readSummary(client.output);
  const expected = clientsFor({ rtcp: false, clientToClient: true }) * MESSAGES;
  // Debian's client may lose one of its messages by TLS to coturn's server, too.
  const enough = way.tls ? expected - clientsFor({ rtcp: false, clientToClient: true }) : expected;
  if (status !== 0 || !summary || summary.sentMessages !== expected || summary.receivedMessages < enough) {
    throw new Error(`exit status ${status}, ${JSON.stringify(summary)}: ${client.lastLines(3)}`);
  }
  const lines = (server.process.output.match(/: new, .*/g) ?? []).filter((line) => line.includes(`client ${own}:`));
  if (lines.length < 2) throw new Error(`the log does not name the clients: ${server.process.lastLines(3)}`);
  const seen = /client ([^,]*), server ([^,]*),/.exec(lines[0]);
  return { detail: `client ${seen[1]}, came to ${seen[2]}` };
}

const SUITE = "coturn-tools";
const SERVER = "127.0.0.1";
const FRONT = "127.0.0.4";
const BALANCER = "127.0.0.5";
const MESSAGES = 5;
