// What ran and how it ended: a line for each case as it ends, a table and a JSON file at the end.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export class Report {
  #results = [];
  #filter;
  #strict;
  #workDirectory;

  /**
   * `workDirectory` keeps what failing cases leave behind; `filter` limits the run to cases whose name holds it;
   * `strict` (set in CI) makes a missing program a failure rather than a skip.
   */
  constructor({ workDirectory, filter, strict }) {
    this.#workDirectory = workDirectory;
    this.#filter = filter;
    this.#strict = strict;
    rmSync(workDirectory, { recursive: true, force: true });
    mkdirSync(workDirectory, { recursive: true });
  }

  /** Whether the case asked for on the command line includes this one. */
  wants(suite, name) {
    return !this.#filter || `${suite} ${name}`.includes(this.#filter);
  }

  /**
   * Runs one case. `body` gets the case's own directory and gives `{ detail, ...measurements }`; what it throws is
   * the reason of the failure. The directory is removed when the case passes.
   */
  async run(suite, name, body) {
    if (!this.wants(suite, name)) return;
    const directory = join(this.#workDirectory, suite, name.replace(/[^A-Za-z0-9.+-]+/g, "_"));
    mkdirSync(directory, { recursive: true });
    const start = performance.now();
    let result;
    try {
      result = { outcome: "pass", ...(await body(directory)) };
      rmSync(directory, { recursive: true, force: true });
    } catch (error) {
      result = { outcome: "FAIL", detail: `${error.message} [${directory}]` };
      writeFileSync(join(directory, "error.txt"), `${error.stack}\n`);
    }
    this.#add({ suite, name, ...result, seconds: (performance.now() - start) / 1000 });
  }

  /** Notes a case that cannot run for want of a program: a failure in CI, a counted skip elsewhere. */
  missing(suite, name, reason) {
    if (!this.wants(suite, name)) return;
    this.#add({ suite, name, outcome: this.#strict ? "FAIL" : "skip", detail: `missing: ${reason}`, seconds: 0 });
  }

  /** Runs what several cases share. It shows up as a failed case of its own when it throws, and not otherwise. */
  async guard(suite, name, body) {
    const start = performance.now();
    try {
      await body();
    } catch (error) {
      this.#add({ suite, name, outcome: "FAIL", detail: error.message, seconds: (performance.now() - start) / 1000 });
    }
  }

  #add(result) {
    this.#results.push(result);
    const { outcome, suite, name, detail = "", seconds } = result;
    console.log(
      `${outcome}  ${suite.padEnd(SUITE_WIDTH)}  ${name.padEnd(NAME_WIDTH)}  ${detail}  (${seconds.toFixed(1)} s)`,
    );
  }

  /** Prints the table and the total line, writes the JSON file, and says whether all is well. */
  finish(jsonFile) {
    const suites = [...new Set(this.#results.map((result) => result.suite))];
    const row = (first, ...cells) =>
      console.log(first.padEnd(16) + cells.map((text) => String(text).padStart(9)).join(""));
    console.log();
    row("suite", "passed", "failed", "skipped", "time");
    for (const suite of suites) {
      const of = this.#results.filter((result) => result.suite === suite);
      const { passed, failed, skipped } = count(of);
      const seconds = of.reduce((sum, result) => sum + result.seconds, 0).toFixed(0);
      row(suite, passed, failed, skipped, `${seconds} s`);
    }
    const total = count(this.#results);
    writeFileSync(jsonFile, `${JSON.stringify({ ...total, results: this.#results }, null, 2)}\n`);
    if (this.#results.length === 0) console.log("no case matched: nothing was proved");
    console.log(`interop: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
    return total.failed === 0 && this.#results.length > 0;
  }
}

function count(results) {
  const of = (outcome) => results.filter((result) => result.outcome === outcome).length;
  return { passed: of("pass"), failed: of("FAIL"), skipped: of("skip") };
}

const SUITE_WIDTH = 12;
const NAME_WIDTH = 56;
