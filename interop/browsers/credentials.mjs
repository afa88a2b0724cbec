// Where the browsers' iceServers come from: minted, printed by `turnpike up`, or given on the command line.

import { createHmac } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runInNewContext } from "node:vm";

import { SECRET } from "../harness/server.mjs";

/** A TURN REST credential under the servers' secret: from `turnpike credentials` where there is one, else made here. */
export async function mintRest(run, at) {
  if (!run.programs.turnpike) return signName(`${Math.floor(Date.now() / 1000) + 3600}:alice`);
  const secretFile = join(at, "secret");
  writeFileSync(secretFile, SECRET, { mode: 0o600 });
  const [{ username, credential }] = await turnpikeCredentials(run, at, ["--secret-file", secretFile]);
  return { username, credential };
}

/** What `turnpike credentials --json` prints with further `flags`, as a list of RTCIceServer. */
export async function turnpikeCredentials({ programs, processes }, at, flags, environment) {
  const log = join(at, "turnpike-credentials.log");
  const args = ["credentials", "--json", ...flags];
  const mint = processes.start(programs.turnpike, args, { log, lifetime: 20, environment });
  const status = await mint.exited;
  if (status !== 0) throw new Error(`turnpike credentials: exit status ${status}: ${mint.lastLines(3)}`);
  return JSON.parse(mint.output).iceServers;
}

/**
 * `turnpike up` with a state directory of its own in `directory`, and the iceServers of the snippet that it prints for
 * people to paste. `environment` gives other commands the same state.
 */
export async function startTurnpikeUp({ programs, processes }, directory) {
  const at = join(directory, "up");
  mkdirSync(at, { recursive: true });
  const environment = { HOME: at, XDG_STATE_HOME: at, NO_COLOR: "1" };
  const log = join(at, "turnpike-up.log");
  const up = processes.start(programs.turnpike, ["up"], { log, lifetime: 300, environment, directory: at });
  const [, literal] = await up.outputMatching(/iceServers\s*=\s*(\[[\s\S]*?\}\s*\]);/, 20);
  return { process: up, environment, iceServers: JSON.parse(JSON.stringify(runInNewContext(literal))) };
}

/** Reads an RTCIceServer, or a list of them, from a file or from the argument itself. */
export function fromArgument(argument) {
  const text = existsSync(argument) ? readFileSync(argument, "utf8") : argument;
  const value = JSON.parse(text);
  const servers = value.iceServers ?? value;
  return Array.isArray(servers) ? servers : [servers];
}

function signName(username) {
  return { username, credential: createHmac("sha1", SECRET).update(username).digest("base64") };
}
