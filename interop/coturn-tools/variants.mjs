// The ways turnutils_uclient is run. `flags` are what a person would type; `clients` feeds the expected byte count.
//
//   peer     "echo4", "beside4" and "echo6": turnutils_peer on loopback, at the server's relay address or, "beside4",
//            at another one; "clients": the clients' own relayed addresses (-y)
//   transport  "udp" unless given; "tcp" is -t, "tls" is -t -S, "dtls" -S
//   trusting   with the authority of the server's certificate (-E): only then does the client check it
//   mostLostByEach  messages that each client may lose, none unless given
//   lostByTheirs    likewise, but of coturn's client only
//   onLoopback  its peers are there, wherever the server is
//   pairing  "our client" or "coturn client" where the other one cannot do it, not even with coturn's server
//   family   the family of the server's address, 4 unless given
//   server   "open" (loopback peers allowed), "secret" (the same with a REST secret), "guarded" (neither), "mobile" (the
//            same as "open" with mobility and four threads)

const NO_ALLOCATION = /Cannot complete Allocation/;
const FORBIDDEN = /error 403/;

const UDP_VARIANTS = [
  { name: "channels -m 100", peer: "echo4", flags: ["-g", "-m", "100"], clients: { count: 100 } },
  { name: "client to client -y -m 100", peer: "clients", flags: ["-g", "-m", "100"], clients: { count: 100 } },
  {
    name: "send -s -c -m 100",
    peer: "echo4",
    flags: ["-g", "-s", "-c", "-m", "100"],
    clients: { count: 100, rtcp: false },
  },
  { name: "channels", peer: "echo4", flags: ["-g"], clients: {} },
  { name: "channels -c", peer: "echo4", flags: ["-g", "-c"], clients: { rtcp: false } },
  { name: "send -s", peer: "echo4", flags: ["-g", "-s"], clients: {} },
  { name: "send -s -c", peer: "echo4", flags: ["-g", "-s", "-c"], clients: { rtcp: false } },
  { name: "client to client -y", peer: "clients", flags: ["-g"], clients: {} },
  { name: "client to client -y -c", peer: "clients", flags: ["-g", "-c"], clients: { rtcp: false } },
  { name: "client to client -y -s", peer: "clients", flags: ["-g", "-s"], clients: {} },
  { name: "client to client -y -s -c", peer: "clients", flags: ["-g", "-s", "-c"], clients: { rtcp: false } },
  { name: "padded channels -D", peer: "echo4", flags: ["-D", "-l", "101"], length: 101, clients: {} },
  {
    name: "1200 bytes, 50 messages",
    peer: "echo4",
    flags: ["-l", "1200", "-n", "50", "-z", "5"],
    length: 1200,
    messages: 50,
    clients: {},
  },
  { name: "extra requests -G", peer: "echo4", flags: ["-G"], clients: {} },
  { name: "REST secret -W", server: "secret", peer: "echo4", flags: ["-g"], clients: {} },
  {
    name: "REST secret -W -y -s -c",
    server: "secret",
    peer: "clients",
    flags: ["-g", "-s", "-c"],
    clients: { rtcp: false },
  },
  { name: "REST secret -W -y -m 20", server: "secret", peer: "clients", flags: ["-m", "20"], clients: { count: 20 } },
  { name: "IPv6 channels -x", family: 6, peer: "echo6", flags: ["-g"], clients: {} },
  { name: "IPv6 send -x -s -c", family: 6, peer: "echo6", flags: ["-s", "-c"], clients: { rtcp: false } },
  { name: "IPv6 client to client -x -y -c", family: 6, peer: "clients", flags: ["-c"], clients: { rtcp: false } },
  { name: "IPv6 relay over IPv4", peer: "echo6", flags: [], clients: {} },
  { name: "IPv4 relay over IPv6", family: 6, peer: "echo4", flags: [], clients: {} },
  { name: "both families -Z", peer: "echo4", flags: ["-Z"], clients: { rtcp: false } },
  { name: "both families -Z -s", peer: "echo4", flags: ["-Z", "-s"], clients: { rtcp: false } },
];

/**
 * Over TCP and over TLS. Over TLS coturn's client loses messages to coturn's own server as well: one for each client with
 * -y, always, and now and then some of a hundred clients. No client may lose more than one.
 */
const STREAM_VARIANTS = ["tcp", "tls"].flatMap((transport) =>
  [
    { name: "channels", peer: "echo4", flags: ["-g"], clients: {} },
    {
      name: "channels -m 100",
      peer: "echo4",
      flags: ["-m", "100"],
      clients: { count: 100 },
      mostLostByEach: transport === "tls" ? 1 : 0,
    },
    {
      name: "channels of odd length -c",
      peer: "echo4",
      flags: ["-c", "-l", "171"],
      length: 171,
      clients: { rtcp: false },
    },
    { name: "send -s", peer: "echo4", flags: ["-s"], clients: {} },
    {
      name: "send of odd length -s -c",
      peer: "echo4",
      flags: ["-s", "-c", "-l", "173"],
      length: 173,
      clients: { rtcp: false },
    },
    {
      name: "1200 bytes, 50 messages",
      peer: "echo4",
      flags: ["-l", "1200", "-n", "50", "-z", "5"],
      length: 1200,
      messages: 50,
      clients: {},
    },
    {
      name: "client to client -y",
      peer: "clients",
      flags: [],
      clients: {},
      mostLostByEach: transport === "tls" ? 1 : 0,
    },
    {
      name: "client to client -y -s -c",
      peer: "clients",
      flags: ["-s", "-c"],
      clients: { rtcp: false },
      mostLostByEach: transport === "tls" ? 1 : 0,
    },
    { name: "extra requests -G", peer: "echo4", flags: ["-G"], clients: {} },
    { name: "both families -Z", peer: "echo4", flags: ["-Z"], clients: { rtcp: false } },
    { name: "IPv6 channels -x", family: 6, peer: "echo6", flags: [], clients: {} },
    { name: "IPv6 relay over IPv4", peer: "echo6", flags: ["-c"], clients: { rtcp: false } },
    { name: "TCP relaying -T", peer: "clients", flags: ["-T"], clients: { rtcp: false } },
    { name: "TCP relaying -T -m 12", peer: "clients", flags: ["-T", "-m", "12"], clients: { count: 12, rtcp: false } },
    { name: "IPv6 TCP relaying -x -T", family: 6, peer: "clients", flags: ["-T"], clients: { rtcp: false } },
    // Half of coturn's clients are peers here, and do not get what the others send: not from coturn's server either.
    {
      name: "passive TCP relaying -P",
      peer: "clients",
      flags: ["-P"],
      clients: { rtcp: false },
      lostByTheirs: 2.5,
      onLoopback: true,
      // Its peers speak TLS to the relayed address, which nobody answers.
      pairing: transport === "tls" ? "our client" : undefined,
    },
    {
      name: "passive TCP relaying -P -m 12",
      peer: "clients",
      flags: ["-P", "-m", "12"],
      clients: { count: 12, rtcp: false },
      lostByTheirs: 2.5,
      onLoopback: true,
      pairing: transport === "tls" ? "our client" : undefined,
    },
  ].map((variant) => ({ ...variant, transport, name: `${transport}: ${variant.name}` })),
);

/**
 * Over DTLS. Debian's client offers DTLS 1.0 every other time, is refused, and tries again until it has offered 1.2.
 */
const DTLS_VARIANTS = [
  { name: "channels", peer: "echo4", flags: ["-g"], clients: {} },
  { name: "channels -m 100", peer: "echo4", flags: ["-m", "100"], clients: { count: 100 } },
  {
    name: "channels of odd length -c",
    peer: "echo4",
    flags: ["-c", "-l", "171"],
    length: 171,
    clients: { rtcp: false },
  },
  { name: "send -s", peer: "echo4", flags: ["-s"], clients: {} },
  {
    name: "1200 bytes, 50 messages",
    peer: "echo4",
    flags: ["-l", "1200", "-n", "50", "-z", "5"],
    length: 1200,
    messages: 50,
    clients: {},
  },
  { name: "client to client -y", peer: "clients", flags: [], clients: {} },
  { name: "client to client -y -s -c", peer: "clients", flags: ["-s", "-c"], clients: { rtcp: false } },
  { name: "IPv6 channels -x", family: 6, peer: "echo6", flags: [], clients: {} },
  { name: "IPv6 relay over IPv4", peer: "echo6", flags: ["-c"], clients: { rtcp: false } },
].map((variant) => ({ ...variant, transport: "dtls", name: `dtls: ${variant.name}` }));

/**
 * Clients that move to another port before they send (RFC 8016). Over TCP neither coturn's client nor ours gets anywhere
 * with coturn 4.6.1, whose server sends what is no message; over TLS its client does not with any server.
 */
const MOBILE_VARIANTS = [
  { name: "mobility -M", flags: ["-M"], clients: {} },
  { name: "mobility -M -s -c", flags: ["-M", "-s", "-c"], clients: { rtcp: false } },
  { name: "mobility -M -m 20", flags: ["-M", "-m", "20"], clients: { count: 20 } },
  { name: "mobility, client to client -M -y", flags: ["-M"], peer: "clients", clients: {} },
  { name: "tcp: mobility -M", transport: "tcp", pairing: "coturn client", flags: ["-M"], clients: {} },
  { name: "tcp: mobility -M -s", transport: "tcp", pairing: "coturn client", flags: ["-M", "-s"], clients: {} },
  {
    name: "tcp: mobility -M -m 20",
    transport: "tcp",
    pairing: "coturn client",
    flags: ["-M", "-m", "20"],
    clients: { count: 20 },
  },
].map((variant) => ({ server: "mobile", peer: "echo4", ...variant }));

export const DATA_VARIANTS = [
  ...UDP_VARIANTS,
  ...STREAM_VARIANTS,
  ...DTLS_VARIANTS,
  { name: "dtls: checked certificate -E", transport: "dtls", trusting: true, peer: "echo4", flags: [], clients: {} },
  ...MOBILE_VARIANTS,
  { name: "tcp: REST secret -W", transport: "tcp", server: "secret", peer: "echo4", flags: [], clients: {} },
  { name: "tls: checked certificate -E", transport: "tls", trusting: true, peer: "echo4", flags: [], clients: {} },
  {
    name: "tls: checked certificate -E, IPv6",
    transport: "tls",
    trusting: true,
    family: 6,
    peer: "echo6",
    flags: ["-c"],
    clients: { rtcp: false },
  },
  {
    name: "tls: cipher list -F",
    transport: "tls",
    peer: "echo4",
    flags: ["-F", "ECDHE-RSA-AES128-GCM-SHA256"],
    clients: {},
  },
].map((variant) => ({ server: "open", transport: "udp", family: 4, length: 100, messages: 5, ...variant }));

/** What must be refused, without one byte relayed: with the word that the client then prints, or `silently` as well. */
export const REFUSED_VARIANTS = [
  { name: "wrong password is refused", password: "wrong", peer: "echo4", flags: ["-c"], word: NO_ALLOCATION },
  {
    name: "tcp: wrong password is refused",
    transport: "tcp",
    password: "wrong",
    peer: "echo4",
    flags: ["-c"],
    word: NO_ALLOCATION,
  },
  {
    name: "tls: wrong password is refused",
    transport: "tls",
    password: "wrong",
    peer: "echo4",
    flags: ["-c"],
    word: NO_ALLOCATION,
  },
  {
    name: "dtls: wrong password is refused",
    transport: "dtls",
    password: "wrong",
    peer: "echo4",
    flags: ["-c"],
    word: NO_ALLOCATION,
  },
  {
    name: "tcp: channel to a loopback peer is refused by default",
    transport: "tcp",
    server: "guarded",
    peer: "beside4",
    flags: ["-c"],
    word: FORBIDDEN,
  },
  { name: "unknown user is refused", username: "nobody", peer: "echo4", flags: ["-c"], word: NO_ALLOCATION },
  {
    name: "wrong REST secret is refused",
    server: "secret",
    secret: "wrong",
    peer: "echo4",
    flags: ["-c"],
    word: NO_ALLOCATION,
  },
  {
    name: "channel to a loopback peer is refused by default",
    server: "guarded",
    peer: "beside4",
    flags: ["-c"],
    word: FORBIDDEN,
  },
  {
    name: "permission for a loopback peer is refused by default",
    server: "guarded",
    peer: "beside4",
    flags: ["-c", "-s"],
    word: FORBIDDEN,
  },
  {
    name: "a service beside the relayed ports is not reached",
    server: "guarded",
    peer: "echo4",
    flags: ["-c"],
    word: FORBIDDEN,
    silently: true,
  },
  {
    name: "a service beside the IPv6 relayed ports is not reached",
    server: "guarded",
    family: 6,
    peer: "echo6",
    flags: ["-c", "-s"],
    word: FORBIDDEN,
    silently: true,
  },
].map((variant) => ({ server: "open", transport: "udp", family: 4, ...variant }));

/** Traffic that is wrong on purpose: nothing is demanded of it but that the server answers afterwards. */
export const HOSTILE_VARIANTS = [
  { name: "answers after negative tests -N", peer: "echo4", flags: ["-N", "-c", "-n", "20"] },
  { name: "answers after malformed requests -R", peer: "echo4", flags: ["-R", "-c", "-n", "20"] },
  {
    name: "tcp: answers after negative tests and malformed requests -N -R",
    transport: "tcp",
    peer: "echo4",
    flags: ["-N", "-R", "-c", "-n", "20"],
  },
  {
    name: "tls: answers after negative tests and malformed requests -N -R",
    transport: "tls",
    peer: "echo4",
    flags: ["-N", "-R", "-c", "-n", "20"],
  },
  {
    name: "dtls: answers after negative tests and malformed requests -N -R",
    transport: "dtls",
    peer: "echo4",
    flags: ["-N", "-R", "-c", "-n", "20"],
  },
].map((variant) => ({ server: "open", transport: "udp", family: 4, ...variant }));
