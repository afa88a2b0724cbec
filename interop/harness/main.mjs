// The interop run: reads the command line, runs the suites asked for, prints the totals. Started by `interop/run`.

import { join } from "node:path";
import { parseArgs } from "node:util";

import { runBrowsers } from "../browsers/suite.mjs";
import { runCoturnTools } from "../coturn-tools/suite.mjs";
import { Processes } from "./processes.mjs";
import { findPrograms, REPOSITORY } from "./programs.mjs";
import { Report } from "./report.mjs";

const SUITES = { "coturn-tools": runCoturnTools, browsers: runBrowsers };

async function main() {
  const { options, suites } = readCommandLine();
  const processes = new Processes();
  process.on("exit", () => processes.stopAll());
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ]) {
    process.on(signal, () => process.exit(status));
  }
  const workDirectory = options.work ?? join(REPOSITORY, "interop", ".work");
  const report = new Report({
    workDirectory,
    filter: options.case,
    strict: Boolean(process.env.CI) && process.env.CI !== "false",
  });
  const run = {
    report,
    processes,
    workDirectory,
    programs: findPrograms(options),
    network: network(),
    iceServers: options["ice-servers"],
  };
  for (const suite of suites) await SUITES[suite](run);
  process.exit(report.finish(options.json ?? join(workDirectory, "results.json")) ? 0 : 1);
}

function readCommandLine() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      server: { type: "string" },
      tools: { type: "string" },
      case: { type: "string" },
      json: { type: "string" },
      work: { type: "string" },
      "ice-servers": { type: "string" },
    },
  });
  const unknown = positionals.filter((suite) => !Object.hasOwn(SUITES, suite));
  if (unknown.length > 0)
    throw new Error(`no suite ${unknown.join(", ")}; there are: ${Object.keys(SUITES).join(", ")}`);
  if (values["ice-servers"]) return { options: values, suites: ["browsers"] };
  return { options: values, suites: positionals.length > 0 ? positionals : Object.keys(SUITES) };
}

/**
 * The addresses the servers are given: those `interop/run` made in its network namespace, else loopback's. No server
 * listens on `peer4`.
 */
function network() {
  const isolated = process.env.TURNPIKE_INTEROP_NAMESPACE === "1";
  return {
    isolated,
    ipv4: isolated ? process.env.TURNPIKE_INTEROP_IPV4 : "127.0.0.1",
    ipv6: isolated ? process.env.TURNPIKE_INTEROP_IPV6 : "::1",
    otherIpv6: isolated ? process.env.TURNPIKE_INTEROP_OTHER_IPV6 : undefined,
    peer4: isolated ? process.env.TURNPIKE_INTEROP_PEER4 : undefined,
    serverHost: process.env.TURNPIKE_INTEROP_SERVER,
  };
}

main().catch((error) => {
  console.error(`interop: ${error.message}`);
  process.exit(2);
});
