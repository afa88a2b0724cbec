// Calls between two ends, each in a page of some browser. The runner is the signalling channel.

/** Opens the page in `browser` and gives a handle on it. */
export async function openPage(browser, url) {
  const page = await browser.newPage();
  await page.goto(url, { waitUntil: "load" });
  await page.waitForFunction(() => Boolean(window.interop));
  return page;
}

/** One end of a call: `page` holds it under `name`. */
export class End {
  constructor(page, name) {
    this.page = page;
    this.name = name;
  }

  async create(options) {
    await this.page.evaluate((name, all) => window.interop.create(name, all), this.name, options);
  }

  /** Calls a method of the page's `Endpoint`; see endpoint.js. */
  async do(method, ...values) {
    try {
      return await this.page.evaluate(
        (name, called, given) => window.interop.call(name, called, ...given),
        this.name,
        method,
        values,
      );
    } catch (error) {
      throw new Error(`${this.name}: ${method}: ${error.message.split("\n")[0]}`, { cause: error });
    }
  }
}

/** Exchanges descriptions between two ends that have been created. */
export async function signal(caller, callee) {
  const offer = await caller.do("offer");
  const answer = await callee.do("answer", offer);
  await caller.do("accept", answer);
}

/**
 * A whole call over relayed addresses only: data channel both ways with pings and bulk, video both ways. Gives what was
 * measured; throws when anything falls short or the path is not relay to relay. `relayProtocol` is how the ends must
 * reach the server ("udp", "tcp", "tls"); any way will do when it is left out.
 */
export async function relayedCall(caller, callee, { callerServers, calleeServers = callerServers, relayProtocol }) {
  const start = performance.now();
  await caller.create({ configuration: relayOnly(callerServers), colour: CALLER_COLOUR });
  await callee.create({ configuration: relayOnly(calleeServers), colour: CALLEE_COLOUR });
  await signal(caller, callee);
  await connected(caller, callee);
  const open = Math.round(performance.now() - start);
  const roundTrip = await caller.do("ping", PINGS);
  const rate = await caller.do("sendBulk", BULK);
  await callee.do("ping", PINGS);
  const frames = await Promise.all([
    caller.do("receiveVideo", FRAMES, CALLEE_COLOUR),
    callee.do("receiveVideo", FRAMES, CALLER_COLOUR),
  ]);
  await checkRelayed(caller, callee, relayProtocol);
  await Promise.all([caller.do("close"), callee.do("close")]);
  return {
    detail: `dc=${open}ms ping=${roundTrip.toFixed(1)}ms ${Math.round(rate)}Mb/s frames=${Math.min(...frames)}`,
    open,
    roundTrip,
    rate,
    frames,
  };
}

/** Waits for the data channel at both ends; a failure tells what each end has seen. */
export async function connected(caller, callee, seconds = CONNECT_LIMIT) {
  try {
    await Promise.all([caller.do("opened", seconds), callee.do("opened", seconds)]);
  } catch (error) {
    const facts = { caller: await caller.do("facts"), callee: await callee.do("facts") };
    throw new Error(`${error.message}; ${JSON.stringify(facts)}`, { cause: error });
  }
}

/** An RTCConfiguration that leaves the browser no way around the relay. */
export function relayOnly(iceServers) {
  return { iceServers, iceTransportPolicy: "relay" };
}

async function checkRelayed(caller, callee, relayProtocol) {
  const ends = [await caller.do("facts"), await callee.do("facts")];
  for (const [index, { candidates, pair }] of ends.entries()) {
    const far = ends[1 - index];
    if (!pair) throw new Error("getStats shows no selected pair");
    if (candidates.some(({ type }) => type !== "relay")) throw new Error(`gathered ${JSON.stringify(candidates)}`);
    const told = JSON.stringify(pair);
    if (pair.local.type !== "relay") throw new Error(`the local candidate is no relayed address: ${told}`);
    // A check that overtakes the description makes the far relayed address look peer-reflexive: then the address tells.
    const known = far.candidates.some(
      ({ address, port }) => address === pair.remote.address && port === pair.remote.port,
    );
    if (pair.remote.type !== "relay" && !(pair.remote.type === "prflx" && known)) {
      throw new Error(`the remote candidate is no relayed address: ${told}`);
    }
    if (relayProtocol && pair.local.relayProtocol && pair.local.relayProtocol !== relayProtocol) {
      throw new Error(`reached the server over ${pair.local.relayProtocol}, not ${relayProtocol}`);
    }
  }
}

const PINGS = 20;
const BULK = 2 * 1024 * 1024; // bytes
const FRAMES = 30;
const CONNECT_LIMIT = 20; // seconds
const CALLER_COLOUR = [200, 40, 40];
const CALLEE_COLOUR = [40, 60, 200];
