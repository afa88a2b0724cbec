// Third-party authorisation (RFC 7635): turnutils_uclient -J against a server that knows its three test keys, and
// turnutils_oauth, which has to open what the other project's one has sealed.

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";

import { isExecutable } from "../harness/programs.mjs";
import { TurnServer, USER } from "../harness/server.mjs";
import { clientsFor, readSummary } from "./summary.mjs";

/** Runs a pairing's client against its server, and opens with its tool what the other one has sealed. */
export async function runTokens(run, pairing) {
  const { report } = run;
  const name = `${pairing.name}: tokens`;
  const directory = join(run.workDirectory, SUITE, `${pairing.name.replace(/ /g, "_")}_tokens`);
  mkdirSync(directory, { recursive: true });
  const flags = pairing.ours ? ourFlags() : coturnFlags(directory);
  if (flags) await report.guard(SUITE, name, () => runClients(run, pairing, directory, flags));
  else report.missing(SUITE, name, "sqlite3");
  const { tools, reference } = run.programs;
  if (!reference.client) return report.missing(SUITE, name, "coturn's turnutils_oauth");
  const [ours, theirs] = [tools, dirname(reference.client)].map((at) => join(at, "turnutils_oauth"));
  if (!isExecutable(theirs)) return report.missing(SUITE, name, theirs);
  const [sealer, opener] = pairing.ours ? [theirs, ours] : [ours, theirs];
  for (const cipher of ["A256GCM", "A128GCM"]) {
    const what = pairing.ours ? "ours opens coturn's token" : "coturn's tool opens our token";
    await report.run(SUITE, `${what}, ${cipher}`, (at) => crossCase(run, sealer, opener, cipher, at));
  }
}

const ourFlags = () => [
  ...["--oauth", `--server-name=${SERVER_NAME}`],
  ...KEYS.map(([kid, key, cipher, realm]) => `--oauth-key=${kid}:${key}:${cipher}:0:0:${realm}`),
  // Debian's client picks channel numbers above the range that RFC 8656 leaves.
  "--rfc5766-channel-numbers",
];

/** coturn reads keys from a database alone; undefined where none can be made. */
function coturnFlags(directory) {
  const file = join(directory, "turndb");
  const rows = KEYS.map((row) => `insert or replace into oauth_key values(${row.map((it) => `'${it}'`).join(",")});`);
  const table =
    "create table if not exists oauth_key (kid varchar(128) primary key, ikm_key varchar(256), as_rs_alg varchar(64), " +
    "realm varchar(127), timestamp bigint default 0, lifetime integer default 0);";
  const filled = rows.map((row) => row.replace("oauth_key values", "oauth_key (kid,ikm_key,as_rs_alg,realm) values"));
  try {
    execFileSync("sqlite3", [file, table + filled.join("")], { stdio: "pipe" });
  } catch {
    return undefined;
  }
  return ["--oauth", `--server-name=${SERVER_NAME}`, `--userdb=${file}`];
}

async function runClients({ processes, report }, pairing, directory, flags) {
  const server = await TurnServer.start(processes, pairing.server, {
    addresses: ["127.0.0.1"],
    directory,
    ours: pairing.ours,
    flags: ["--allow-loopback-peers", ...flags],
  });
  const uclient = (at, more) => {
    const args = [...more, "-X", "-y", "-p", String(server.port), "127.0.0.1"];
    return processes.start(join(pairing.tools, "turnutils_uclient"), args, {
      log: join(at, "turnutils_uclient.log"),
      lifetime: CLIENT_LIFETIME,
    });
  };
  try {
    for (const [name, more, count] of CLIENTS) {
      await report.run(SUITE, `${pairing.name}: ${name}`, async (at) => {
        const client = uclient(at, more);
        const status = await client.exited;
        const summary = readSummary(client.output);
        const expected = clientsFor({ count, clientToClient: true }) * 5 * 100;
        if (status !== 0 || summary?.receivedBytes !== expected) {
          throw new Error(`status ${status}, ${summary?.receivedBytes} bytes of ${expected}: ${client.lastLines(2)}`);
        }
        return { detail: `${expected} bytes` };
      });
    }
  } finally {
    await server.stop();
  }
}

async function crossCase({ processes }, sealer, opener, cipher, at) {
  const run = async (program, args, log) => {
    const tool = processes.start(program, [...TOKEN, "-n", cipher, ...args], { log: join(at, log), lifetime: 20 });
    const status = await tool.exited;
    if (status !== 0) throw new Error(`${program} ${args.join(" ")}: status ${status}: ${tool.lastLines(2)}`);
    return tool.output;
  };
  const { access_token: token } = JSON.parse(await run(sealer, ["-e", "-p", MAC_KEY], "sealed.log"));
  const opened = await run(opener, ["-d", "-v", "-t", token], "opened.log");
  for (const line of ["-=Valid token!=-", "mac key: xxxxxxxxxxxxxxxxxxxx", "unixtime: 1800000000 ", "lifetime: 600"]) {
    if (!opened.includes(line)) throw new Error(`no ${line} in ${opened}`);
  }
  return { detail: `${token.length} characters` };
}

const SUITE = "coturn-tools";
const CLIENT_LIFETIME = 60; // seconds
const SERVER_NAME = "turn.interop.example";
/** Of coturn's example databases: kid, key with the end of a line behind it, cipher, realm. */
const KEYS = [
  ["north", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEK", "A256GCM", "crinna.org"],
  ["union", "MTIzNDU2Nzg5MDEyMzQ1Ngo=", "A128GCM", "north.gov"],
  ["oldempire", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIK", "A256GCM", ""],
];
/** What the client is run with, and how many clients that makes. -G refreshes with further tokens, of any of the keys. */
const CLIENTS = [
  ["tokens -J -G", ["-J", "-G"], 1],
  ["tokens -J -m 20", ["-J", "-m", "20"], 20],
  ["tokens over TCP -J -t", ["-J", "-t"], 1],
  ["a password beside tokens", ["-u", USER.username, "-w", USER.credential], 1],
];
const MAC_KEY = "eHh4eHh4eHh4eHh4eHh4eHh4eHg=";
const TOKEN = [
  ...["-i", "turn.example.org", "-j", "kid", "-k", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEK"],
  ...["-l", "1700000000", "-m", "200000000", "-q", "117964800000000", "-r", "600"],
];
