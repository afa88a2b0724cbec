// One end of a call. The runner creates ends by name, in one page or in two browsers, and carries their descriptions;
// every method gives plain values, since they cross the browser's remote protocol.

class Endpoint {
  #connection;
  #channel;
  #inbox = new Inbox();
  #bulk = { chunks: [], wanted: 0, announced: undefined };
  #errors = [];
  #states = [];
  #video;
  #started = performance.now();

  /** `configuration` is an RTCConfiguration; `colour` paints the outgoing video, none means no video. */
  constructor({ configuration, colour }) {
    this.#connection = new RTCPeerConnection(configuration);
    this.#connection.addEventListener("icecandidateerror", ({ errorCode, errorText, url }) => {
      this.#errors.push({ errorCode, errorText, url });
    });
    this.#connection.addEventListener("iceconnectionstatechange", () => {
      this.#states.push(this.#connection.iceConnectionState);
    });
    this.#connection.addEventListener("datachannel", ({ channel }) => this.#adopt(channel));
    this.#connection.addEventListener("track", ({ track }) => this.#show(track));
    if (colour) {
      const stream = paintedStream(colour);
      for (const track of stream.getTracks()) this.#connection.addTrack(track, stream);
    }
  }

  async offer() {
    this.#adopt(this.#connection.createDataChannel("interop"));
    await this.#connection.setLocalDescription();
    return this.#gathered();
  }

  async answer(description) {
    await this.#connection.setRemoteDescription(description);
    await this.#connection.setLocalDescription();
    return this.#gathered();
  }

  async accept(description) {
    await this.#connection.setRemoteDescription(description);
  }

  /** Resolves to the milliseconds since this end was made, once the data channel is open. */
  async opened(seconds) {
    await until(() => this.#channel?.readyState === "open", seconds, "open data channel");
    return Math.round(performance.now() - this.#started);
  }

  /** Sends `count` pings, one after another's answer. Gives the mean round trip in milliseconds. */
  async ping(count) {
    const start = performance.now();
    for (let sequence = 0; sequence < count; sequence += 1) {
      this.#channel.send(`ping ${sequence}`);
      await this.#inbox.take(`pong ${sequence}`, STEP_LIMIT);
    }
    return (performance.now() - start) / count;
  }

  /** Sends `length` random bytes and checks the digest that the other end returns. Gives megabits per second. */
  async sendBulk(length) {
    const bytes = randomBytes(length);
    const digest = await sha256(bytes);
    const start = performance.now();
    this.#channel.send(`bulk ${length}`);
    for (let sent = 0; sent < length; sent += CHUNK) {
      if (this.#channel.bufferedAmount > BUFFER_LIMIT) await this.#drained();
      this.#channel.send(bytes.subarray(sent, sent + CHUNK));
    }
    const answer = await this.#inbox.take("digest ", BULK_LIMIT);
    if (answer !== `digest ${digest}`) throw new Error(`sent bytes with digest ${digest}, the other end has ${answer}`);
    return (length * 8) / 1000 / Math.max(1, performance.now() - start);
  }

  /** Waits for `frames` decoded frames whose colour is near `colour`; gives how many were decoded. */
  async receiveVideo(frames, colour) {
    let decoded = 0;
    const enough = async () => {
      for (const report of (await this.#connection.getStats()).values()) {
        if (report.type === "inbound-rtp" && report.kind === "video") decoded = report.framesDecoded ?? 0;
      }
      return decoded >= frames;
    };
    await until(enough, VIDEO_LIMIT, `${frames} decoded frames`, () => `${decoded} were`);
    await until(() => looksLike(this.#video, colour), STEP_LIMIT, `video in colour ${colour}`);
    return decoded;
  }

  /** Waits until ICE has given up, or fails when it connects. */
  async givenUp(seconds) {
    const failed = () => {
      if (["connected", "completed"].includes(this.#connection.iceConnectionState)) throw new Error("connected");
      return this.#connection.iceConnectionState === "failed";
    };
    try {
      await until(failed, seconds, "failed ICE");
      return "failed";
    } catch (error) {
      if (error.message === "connected") throw error;
      return this.#connection.iceConnectionState;
    }
  }

  /** Candidates gathered, errors met, states passed and the selected pair. */
  async facts() {
    const stats = await this.#connection.getStats();
    return {
      candidates: candidatesOf(this.#connection.localDescription?.sdp ?? ""),
      errors: this.#errors,
      states: this.#states,
      pair: selectedPair(stats),
    };
  }

  close() {
    this.#connection.close();
  }

  #adopt(channel) {
    this.#channel = channel;
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = BUFFER_LIMIT / 4;
    channel.addEventListener("message", ({ data }) => {
      if (typeof data === "string") this.#receiveText(data);
      else this.#receiveBytes(new Uint8Array(data));
    });
  }

  #receiveText(text) {
    const [word, argument] = text.split(" ");
    if (word === "ping") this.#channel.send(`pong ${argument}`);
    else if (word === "bulk") this.#bulk = { chunks: [], wanted: Number(argument) };
    else this.#inbox.put(text);
  }

  async #receiveBytes(chunk) {
    this.#bulk.chunks.push(chunk);
    this.#bulk.wanted -= chunk.length;
    if (this.#bulk.wanted > 0) return;
    const digest = await sha256(await new Blob(this.#bulk.chunks).arrayBuffer());
    this.#channel.send(`digest ${digest}`);
  }

  #drained() {
    return new Promise((resolve) => this.#channel.addEventListener("bufferedamountlow", resolve, { once: true }));
  }

  #show(track) {
    this.#video = document.createElement("video");
    Object.assign(this.#video, { autoplay: true, muted: true, playsInline: true, srcObject: new MediaStream([track]) });
    document.querySelector("#videos").append(this.#video);
    this.#video.play().catch(() => {});
  }

  async #gathered() {
    await until(() => this.#connection.iceGatheringState === "complete", GATHER_LIMIT, "complete gathering");
    const { type, sdp } = this.#connection.localDescription;
    return { type, sdp };
  }
}

/** Text messages that arrived and nobody has asked for yet. */
class Inbox {
  #messages = [];

  put(text) {
    this.#messages.push(text);
    this.arrived?.();
  }

  /** The first message that starts with `prefix`, within `seconds`. */
  async take(prefix, seconds) {
    const find = () => this.#messages.findIndex((text) => text.startsWith(prefix));
    const deadline = performance.now() + seconds * 1000;
    while (find() < 0) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`no message "${prefix}" within ${seconds} s`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.arrived = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#messages.splice(find(), 1)[0];
  }
}

/** A moving picture mostly in one colour, 30 frames a second. */
function paintedStream(colour) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
  const context = canvas.getContext("2d");
  let frame = 0;
  const paint = () => {
    context.fillStyle = `rgb(${colour})`;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = "white";
    context.fillRect((frame * 4) % canvas.width, 8, 24, 24);
    frame += 1;
  };
  paint();
  setInterval(paint, 33);
  return canvas.captureStream(30);
}

function looksLike(video, colour) {
  if (!video?.videoWidth) return false;
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d");
  context.drawImage(video, video.videoWidth / 2, video.videoHeight / 2, 1, 1, 0, 0, 1, 1);
  const seen = context.getImageData(0, 0, 1, 1).data;
  return colour.every((value, index) => Math.abs(value - seen[index]) < COLOUR_TOLERANCE);
}

function candidatesOf(sdp) {
  return [...sdp.matchAll(/^a=candidate:\S+ \d+ (\S+) \d+ (\S+) (\d+) typ (\S+)/gim)].map(
    ([, protocol, address, port, type]) => ({ protocol: protocol.toLowerCase(), address, port: Number(port), type }),
  );
}

function selectedPair(stats) {
  const reports = [...stats.values()];
  const transport = reports.find(
    ({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId,
  );
  const pair =
    stats.get(transport?.selectedCandidatePairId) ??
    reports.find(({ type, selected }) => type === "candidate-pair" && selected) ??
    reports.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
  if (!pair) return undefined;
  const end = (id) => {
    const { candidateType, address, port, relayProtocol } = stats.get(id) ?? {};
    return { type: candidateType, address, port, relayProtocol };
  };
  return { local: end(pair.localCandidateId), remote: end(pair.remoteCandidateId) };
}

function randomBytes(length) {
  const bytes = new Uint8Array(length);
  const most = 65536; // what getRandomValues gives at once
  for (let at = 0; at < length; at += most) crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + most)));
  return bytes;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function until(condition, seconds, what, but = () => "") {
  const deadline = performance.now() + seconds * 1000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`no ${what} within ${seconds} s ${but()}`.trim());
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const CHUNK = 16 * 1024; // bytes; every browser takes messages of this size
const BUFFER_LIMIT = 1024 * 1024; // bytes
const COLOUR_TOLERANCE = 60; // of 255, for what a video codec does to colours
const GATHER_LIMIT = 15; // seconds, as the following
const STEP_LIMIT = 10;
const BULK_LIMIT = 30;
const VIDEO_LIMIT = 20;

const endpoints = new Map();

window.interop = {
  create: (name, options) => void endpoints.set(name, new Endpoint(options)),
  call: (name, method, ...values) => endpoints.get(name)[method](...values),
};
