// A certificate authority of our own, and a server certificate signed by it, made with openssl.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Makes them in `directory`, unless they are there: for `localhost` and the given addresses. Gives the paths of the
 * authority, the server's chain and its key; undefined where openssl is missing.
 */
export function makeCertificate(directory, addresses) {
  mkdirSync(directory, { recursive: true });
  const at = (name) => join(directory, name);
  const files = { authority: at("authority.pem"), cert: at("cert.pem"), pkey: at("key.pem") };
  if (existsSync(files.cert)) return files;
  const openssl = (...args) => execFileSync("openssl", args, { stdio: "pipe" });
  try {
    openssl("version");
  } catch {
    return undefined;
  }
  const names = ["DNS:localhost", ...addresses.map((address) => `IP:${address}`)].join(",");
  writeFileSync(at("names"), `subjectAltName=${names}\nextendedKeyUsage=serverAuth\n`);
  const days = ["-days", "2"];
  const authorityKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const subject = (name) => ["-subj", `/CN=${name}`];
  openssl("req", "-x509", ...authorityKey, ...days, ...subject("Interop"), "-keyout", at("a.pem"), "-out", files.authority);
  openssl("req", "-newkey", "rsa:2048", "-nodes", ...subject("localhost"), "-keyout", files.pkey, "-out", at("request"));
  const signed = ["-CA", files.authority, "-CAkey", at("a.pem"), "-CAcreateserial", "-extfile", at("names")];
  openssl("x509", "-req", "-in", at("request"), ...signed, ...days, "-out", files.cert);
  return files;
}

/** Makes a browser's certificate store in `directory` trust the authority. Needs certutil of NSS. */
export function trust(directory, authority) {
  mkdirSync(directory, { recursive: true });
  const store = `sql:${directory}`;
  const certutil = (...args) => execFileSync("certutil", ["-d", store, ...args], { stdio: "pipe" });
  certutil("-N", "--empty-password");
  certutil("-A", "-n", "interop", "-t", "C,,", "-i", authority);
}
