// Child processes that cannot outlive their welcome.
//
// Every program runs under `timeout` in a process group of its own: the group is ended by `stop`, by `stopAll` at the
// end of the run, and by `timeout` itself should this process die without a word.

import { spawn } from "node:child_process";
import { appendFileSync, writeFileSync } from "node:fs";

export class Processes {
  #running = new Set();

  /**
   * Starts `program` with `args`. `log` is the file that receives both output streams; `lifetime` is the longest it
   * may live, in seconds.
   */
  start(program, args, { log, lifetime, environment = {}, directory } = {}) {
    // --foreground: a signal for `timeout` then reaches the program once, not once more through the group.
    const child = spawn("timeout", ["--foreground", `--kill-after=${KILL_GRACE}`, String(lifetime), program, ...args], {
      cwd: directory,
      detached: true,
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const running = new RunningProcess(child, `${program} ${args.join(" ")}`, log);
    this.#running.add(running);
    running.exited.finally(() => this.#running.delete(running)).catch(() => {});
    return running;
  }

  /** Ends all that still runs. Synchronous, so that an `exit` handler may call it. */
  stopAll() {
    for (const running of this.#running) running.kill();
  }
}

export class RunningProcess {
  #child;
  #listeners = new Set();
  #log;
  commandLine;
  output = "";
  /** Resolves to the exit status; a number above 128 stands for a signal, 124 for an expired lifetime. */
  exited;

  constructor(child, commandLine, log) {
    this.#child = child;
    this.#log = log;
    this.commandLine = commandLine;
    if (log) writeFileSync(log, `$ ${commandLine}\n`);
    child.stdout.on("data", (chunk) => this.#receive(chunk));
    child.stderr.on("data", (chunk) => this.#receive(chunk));
    this.exited = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve(code ?? (signal === "SIGKILL" ? 137 : 143)));
    });
    this.exited.catch(() => {});
  }

  /** Waits until the output matches `pattern` and gives the match; fails when the process ends or time runs out. */
  async outputMatching(pattern, seconds) {
    let check;
    const found = new Promise((resolve) => {
      check = () => {
        const match = pattern.exec(this.output);
        if (match) resolve(match);
      };
      this.#listeners.add(check);
      check();
    });
    const ended = this.exited.then((status) => {
      throw new Error(`ended with status ${status} before it printed ${pattern}: ${this.lastLines(3)}`);
    });
    try {
      return await within(seconds, `${pattern} in the output of ${this.commandLine}`, Promise.race([found, ended]));
    } finally {
      this.#listeners.delete(check);
    }
  }

  /** True until the process has ended. */
  get alive() {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The last lines of the output, for an error message. */
  lastLines(count) {
    return this.output.trim().split("\n").slice(-count).join(" | ");
  }

  /** Sends `signal` to the program, insists after a grace period, and gives its status. */
  async stop(signal = "SIGTERM") {
    if (this.alive) this.#send(this.#child.pid, signal);
    const insist = setTimeout(() => this.kill(), KILL_GRACE * 1000);
    try {
      return await this.exited;
    } finally {
      clearTimeout(insist);
    }
  }

  /** Ends the program and whatever it started, at once. */
  kill() {
    this.#send(-this.#child.pid, "SIGKILL");
  }

  #send(receiver, signal) {
    try {
      process.kill(receiver, signal);
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }

  #receive(chunk) {
    const text = chunk.toString();
    if (this.#log) appendFileSync(this.#log, text);
    this.output = (this.output + text).slice(-OUTPUT_KEPT);
    for (const check of [...this.#listeners]) check();
  }
}

/** Gives what `promise` gives, or fails after `seconds` saying what was awaited. */
export async function within(seconds, what, promise) {
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

const KILL_GRACE = 3; // seconds
const OUTPUT_KEPT = 4 * 1024 * 1024; // characters
