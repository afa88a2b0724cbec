//! What `--help` prints.

pub(crate) const USAGE: &str = "\
turnutils_uclient - send messages through a TURN server and count what comes back

USAGE
    turnutils_uclient [flags] SERVER
    Give -e PEER (an echo server such as turnutils_peer) or -y (clients talk to each other).

WHO TALKS TO WHOM
    -e ADDRESS     echo peer; RTCP sessions use the port after it
    -r PORT        its port (3480)
    -y             clients talk to each other's relayed addresses
    -m NUMBER      clients (1); rounded up to whole RTP/RTCP pairs and whole conversations
    -c             no RTCP: every client is one session
    -t             over TCP: each client is a connection
    -S             encrypted: over DTLS, with -t over TLS
    -T             relay TCP (RFC 6062): clients connect to each other's relayed addresses (implies -t -y -c)
    -P             likewise, but each client waits for a plain connection, which is made here too
    -p PORT        the server's port (3478; with -S 5349)
    -L ADDRESS     local address
    -d DEVICE      local interface

WHO WE ARE
    -u NAME        user name
    -w PASSWORD    password
    -W SECRET      TURN REST secret: name and password are made from it, good for a day
    -C CHARACTER   stands between time and user in such a name (:)
    -J             access tokens (RFC 7635), sealed with one of three built-in test keys: north, union, oldempire. A
                   server that accepts no tokens is given -u and -w
    -o ORIGIN      ORIGIN attribute

TLS AND DTLS (-S)
    -i FILE        the client's certificate and those above it, in PEM
    -k FILE        its private key, in PEM without a passphrase; may be in the same file
    -E FILE        certificate authorities: the server's certificate must come from one of them. Without -E any
                   certificate is taken. A certificate for another name is taken with a warning
    -F CIPHERS     cipher list as OpenSSL writes it, for (D)TLS 1.2; suites of TLS 1.3 by name

WHAT IS SENT
    -n NUMBER      messages of each session (5)
    -l BYTES       bytes in each (100; at least 16)
    -z MS          milliseconds between a session's messages (20); 0 for none
    -s             Send indications instead of channels
    -D             pad ChannelData to four bytes although UDP does not need it (over TCP it always is)

WHAT IS ASKED OF THE SERVER
    -X             an IPv4 relayed address, explicitly
    -x             an IPv6 relayed address
    -Z             one of each (implies -c)
    -g             DONT-FRAGMENT
    -a BYTES/S     bandwidth
    -M             mobility: each session moves to another port with the ticket it gets
    --no-even-port do not ask for an even port and the next one for RTCP
    -I             no permissions
    -G             more permissions, channels and refreshes than needed
    -N             also requests that have to be refused
    -R             malformed messages first
    -B             half of the sessions fall silent after three messages
    -O             allocate, then leave without giving back
    -h             keep going after the last message

LOAD
    -Y packet      relay as fast as possible (implies -c, -z 0, and no -n means no end)
    -Y alloc       allocate and give back, over and over
    -Y invalid     nothing but malformed messages

OTHER
    -v             say more
    -K NUMBER, --listener-threads NUMBER, --sender-threads NUMBER
                   accepted and not needed: one thread serves all sessions
    --help         this text

NOT IN THIS VERSION
    -b (SCTP), -U (null cipher)

EXIT STATUS
    0 when the run went to its end, even if messages were lost: read the last lines;
    1 for an unknown flag; 255 when nothing could be set up.
";
