// Starts the browsers, both through puppeteer-core: Chromium over its own protocol, Firefox over WebDriver BiDi.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import puppeteer from "puppeteer-core";

import { trust } from "../harness/certificate.mjs";

/** Starts `kind`, "chromium" or "firefox", with a new profile in `directory`; it trusts `authority`, if given. */
export async function launch(kind, program, directory, authority) {
  const home = join(directory, `${kind}-home`);
  const profile = join(home, "profile");
  mkdirSync(profile, { recursive: true });
  if (authority) trust(kind === "chromium" ? join(home, ".pki", "nssdb") : profile, authority);
  const options = {
    executablePath: join(HERE, "bounded-browser"),
    headless: true,
    timeout: LAUNCH_LIMIT * 1000,
    protocolTimeout: PROTOCOL_LIMIT * 1000,
    env: {
      ...process.env,
      HOME: home,
      TMPDIR: home,
      INTEROP_BROWSER: program,
      INTEROP_BROWSER_LIFETIME: String(LIFETIME),
    },
  };
  if (kind === "chromium") {
    return puppeteer.launch({ ...options, args: CHROMIUM_FLAGS, userDataDir: profile });
  }
  return puppeteer.launch({
    ...options,
    browser: "firefox",
    userDataDir: profile,
    extraPrefsFirefox: FIREFOX_PREFERENCES,
  });
}

/** Serves the page on loopback, which browsers take for a secure context. Gives its URL and how to stop. */
export async function servePage() {
  const files = { "/": ["page.html", "text/html"], "/endpoint.js": ["endpoint.js", "text/javascript"] };
  const server = createServer((request, response) => {
    const [file, type] = files[request.url] ?? [];
    if (!file || !existsSync(join(HERE, file))) return response.writeHead(404).end();
    return response.writeHead(200, { "Content-Type": `${type}; charset=utf-8` }).end(readFileSync(join(HERE, file)));
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

const HERE = dirname(fileURLToPath(import.meta.url));
const LAUNCH_LIMIT = 45; // seconds, as the following
const PROTOCOL_LIMIT = 60;
const LIFETIME = 300;

const CHROMIUM_FLAGS = [
  "--no-sandbox", // the suite may run as root
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--allow-loopback-in-peer-connection",
  // Host candidates with addresses rather than mDNS names.
  "--disable-features=WebRtcHideLocalIpsWithMdns",
  "--autoplay-policy=no-user-gesture-required",
];

const FIREFOX_PREFERENCES = {
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.autoplay.default": 0,
  "media.gmp-manager.url": "",
  "media.gmp-provider.enabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
};
