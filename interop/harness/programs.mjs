// Where the programs are: the ones under test, Debian's, and the browsers.

import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");

/**
 * The programs of a run. `server` and `tools` come from the command line or the environment, else from the last build.
 * `turnpike` is the `turnpike` command beside the server, or undefined when the server is another project's.
 */
export function findPrograms({ server, tools }) {
  const built = builtDirectory();
  const serverPath = resolve(server ?? process.env.TURNSERVER ?? join(built, "turnserver"));
  const toolsPath = resolve(tools ?? process.env.TOOLS ?? built);
  const turnpike = join(dirname(serverPath), "turnpike");
  return {
    server: isExecutable(serverPath) ? serverPath : undefined,
    serverPath,
    tools: isExecutable(join(toolsPath, "turnutils_uclient")) ? toolsPath : undefined,
    toolsPath,
    turnpike: isExecutable(turnpike) ? turnpike : undefined,
    reference: {
      server: onPath("turnserver"),
      client: onPath("turnutils_uclient"),
    },
    haproxy: onPath("haproxy"),
    chromium: onPath("chromium"),
    firefox: onPath("firefox-esr") ?? onPath("firefox"),
  };
}

/** The path of `program` found by PATH, or undefined. */
export function onPath(program) {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .map((directory) => join(directory, program))
    .find(isExecutable);
}

export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function builtDirectory() {
  const target = process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, "target");
  const candidates = ["release", "debug"].map((profile) => join(target, profile));
  return candidates.find((directory) => existsSync(join(directory, "turnserver"))) ?? candidates[0];
}
