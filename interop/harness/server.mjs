// The server under test, started with coturn's flags: ours and Debian's coturn understand the same ones.

import { createSocket } from "node:dgram";
import { join } from "node:path";

/** A user the server is given on its command line. */
export const USER = { username: "alice", credential: "correct-horse" };
export const REALM = "interop.example";
export const SECRET = "interop-shared-secret";

export class TurnServer {
  process;
  addresses;
  port;

  constructor(process, addresses, port) {
    this.process = process;
    this.addresses = addresses;
    this.port = port;
  }

  /**
   * Starts `program` on a free port of `addresses` and waits until it listens. `secret` gives it a TURN REST secret
   * in place of the static user; `ours` says that it is Turnpike; `certificate` makes it speak TLS and DTLS on the same port and the next.
   * Its log goes to `directory`.
   */
  static async start(
    processes,
    program,
    { addresses, directory, port: wanted, ours = false, flags = [], secret = false, certificate, lifetime = 300 },
  ) {
    // A host of its own, whose ports are free: the process that holds its network namespace.
    const host = process.env.TURNPIKE_INTEROP_SERVER;
    const entering = host ? ["nsenter", `--net=/proc/${host}/ns/net`] : [];
    const fastPath = ours && process.env.TURNPIKE_TEST_FAST_PATH;
    const port = wanted ?? (host ? 3478 : await freePort(addresses[0]));
    const credentials = secret
      ? ["--use-auth-secret", `--static-auth-secret=${SECRET}`]
      : ["--lt-cred-mech", `--user=${USER.username}:${USER.credential}`];
    const [first, ...before] = [...entering, program];
    const running = processes.start(
      first,
      [
        ...before,
        "-n",
        ...addresses.flatMap((address) => ["-L", address, "-E", address]),
        "-p",
        String(port),
        `--realm=${REALM}`,
        "--no-cli",
        ...(certificate ? ["--cert", certificate.cert, "--pkey", certificate.pkey] : ["--no-tls"]),
        ...(certificate ? ["--tls-listening-port", String(port + 1)] : []),
        // DTLS, which coturn 4.6.1 speaks unless it is told not to.
        ...(certificate ? (ours ? ["--dtls"] : []) : ["--no-dtls"]),
        "--log-file=stdout",
        `--pidfile=${join(directory, "turnserver.pid")}`,
        "-v",
        ...credentials,
        ...(fastPath ? [`--fast-path=${fastPath}`] : []),
        ...flags,
      ],
      { log: join(directory, "turnserver.log"), lifetime },
    );
    await listening(running, ours);
    return new TurnServer(running, addresses, port);
  }

  /** An RTCIceServer for one of the listening addresses, with the static user. */
  iceServer(address, transport = "udp") {
    const host = address.includes(":") ? `[${address}]` : address;
    return { urls: `turn:${host}:${this.port}?transport=${transport}`, ...USER };
  }

  /** The same by TLS, for a name or address that its certificate is for. */
  secureIceServer(host) {
    return { urls: `turns:${host}:${this.port + 1}?transport=tcp`, ...USER };
  }

  /** How many packets the kernel relayed, of which it must have lost none, as the server said at its end. */
  relayedByKernel() {
    const told = /Kernel fast path: relayed (\d+) packets and lost 0;/.exec(this.process.output);
    return Number(told?.[1] ?? 0);
  }

  /** Ends the server, which must have lived and kept quiet about panics until now. */
  async stop() {
    if (!this.process.alive) throw new Error(`the server ended early: ${this.process.lastLines(3)}`);
    const panic = /panicked at.*/.exec(this.process.output);
    if (panic) throw new Error(`the server ${panic[0]}`);
    return this.process.stop();
  }
}

/** Waits until a server listens. Ours has to print the line that coturn's own scripts wait for; 4.6.1 does not. */
export function listening(running, ours) {
  const sign = ours ? /Total auth threads:/ : /Total auth threads:|IO method \(admin thread\)/;
  return running.outputMatching(sign, START_LIMIT);
}

/** A UDP port of `address` that is free together with the next one, as an RTP and RTCP pair needs. */
export async function freePort(address) {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const port = 20000 + 2 * Math.floor(Math.random() * 6000);
    if ((await canBind(address, port)) && (await canBind(address, port + 1))) return port;
  }
  throw new Error(`no free pair of UDP ports on ${address}`);
}

function canBind(address, port) {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  return new Promise((resolve) => {
    socket.once("error", () => resolve(false));
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve(true)));
  });
}

const START_LIMIT = 20; // seconds
