//! Why something was refused or dropped. One word for each, the same in metrics, logs and explanations.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// Why a packet was dropped or a request refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in order of its number.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];

            /// The stable word used in metrics and logs.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Reason::$name => $code,)*
                }
            }

            /// The reason with this word.
            pub fn from_code(code: &str) -> Option<Self> {
                Reason::ALL.iter().copied().find(|reason| reason.code() == code)
            }
        }
    };
}

/// What came of it where a [`Reason`] applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A packet was dropped, and nobody told.
    Packet,
    /// Somebody was told that his credentials are missing or no good.
    Credentials,
    /// Somebody was told that his request cannot be granted.
    Request,
}

impl Reason {
    /// What it is said of; the list below has them in this order.
    pub const fn kind(self) -> Kind {
        match self as u8 {
            number if number < Reason::NoCredentials as u8 => Kind::Packet,
            number if number < Reason::BadRequest as u8 => Kind::Credentials,
            _ => Kind::Request,
        }
    }
}

reasons! {
    /// An empty datagram.
    Empty = "empty";
    /// The first byte belongs to no protocol spoken here.
    NotStun = "not_stun";
    /// A STUN header with a wrong length, or an attribute over the end.
    Malformed = "malformed";
    /// A STUN header without the magic cookie.
    NoMagicCookie = "no_magic_cookie";
    /// FINGERPRINT does not fit the message.
    WrongFingerprint = "wrong_fingerprint";
    /// A response came where only requests and indications belong.
    UnexpectedResponse = "unexpected_response";
    /// A method the server does not know, or a class that the method cannot have.
    UnknownMethod = "unknown_method";
    /// An indication with a comprehension-required attribute the server does not know.
    UnknownAttribute = "unknown_attribute";
    /// An indication that is only a sign of life.
    KeepAlive = "keep_alive";
    /// The function is switched off.
    SwitchedOff = "switched_off";
    /// ChannelData whose length field runs over its end.
    BadChannelData = "bad_channel_data";
    /// Data on a 5-tuple without an allocation.
    NoAllocation = "no_allocation";
    /// ChannelData for a channel that is not bound.
    NoChannel = "no_channel";
    /// Request or data: UDP's where the relayed address speaks TCP, or TCP's where it speaks UDP.
    OtherRelayTransport = "other_relay_transport";
    /// No permission for this peer.
    NoPermission = "no_permission";
    /// A Send indication without XOR-PEER-ADDRESS or DATA, or with one that cannot be read.
    BadSend = "bad_send";
    /// A peer of the other address family.
    WrongFamily = "wrong_family";
    /// The peer's address is refused by the peer rules.
    PeerRefused = "peer_refused";
    /// An address of this server where no relayed port is open.
    OwnAddress = "own_address";
    /// More data in this second than `max-bps` allows.
    OverBandwidth = "over_bandwidth";
    /// A packet for a relayed address that has been closed.
    StaleRelay = "stale_relay";
    /// The client's connection ended before its request was carried out.
    Disconnected = "disconnected";
    /// A connection with a peer was closed because no ConnectionBind came for it in 30 s.
    NeverBound = "never_bound";
    /// A packet of a 5-tuple whose allocation has moved to another worker, which gets it.
    PassedOn = "passed_on";
    /// Data for a client whose connection has ended and who has not come back with its ticket yet.
    ClientAway = "client_away";
    /// An ICMP error of a kind that clients are not told.
    UntoldIcmp = "untold_icmp";
    /// A retransmission of a request that is being worked on.
    InProgress = "in_progress";
    /// Too many unauthenticated requests from this source in this second.
    RateLimited = "rate_limited";
    /// Too many requests wait already.
    TooManyWaiting = "too_many_waiting";
    /// The store of users did not answer: the client's next try may do better.
    StoreUnavailable = "store_unavailable";
    /// The message does not fit its buffer.
    TooLarge = "too_large";
    /// A proxy did not say whose a datagram or connection is.
    NoProxyHeader = "no_proxy_header";
    /// What a proxy said of it cannot be read.
    BadProxyHeader = "bad_proxy_header";
    /// Somebody who is no proxy came where only proxies may.
    UntrustedProxy = "untrusted_proxy";
    /// As many clients come by proxies as may.
    TooManyProxied = "too_many_proxied";

    /// Credentials: none given. The normal first request of every client.
    NoCredentials = "no_credentials";
    /// Credentials: USERNAME or USERHASH, REALM or NONCE is missing or malformed.
    IncompleteCredentials = "incomplete_credentials";
    /// Credentials: PASSWORD-ALGORITHMS is not the list that was offered, or PASSWORD-ALGORITHM is not in it.
    PasswordAlgorithms = "password_algorithms";
    /// Credentials: the time in a REST username has passed.
    Expired = "expired";
    /// Credentials: a REST username whose password fits none of the secrets.
    WrongSecret = "wrong_secret";
    /// Credentials: no such user.
    UnknownUser = "unknown_user";
    /// Credentials: the user exists and the password is another.
    WrongPassword = "wrong_password";
    /// Credentials: no key of an authorisation server has the name that came with an ACCESS-TOKEN.
    UnknownKid = "unknown_kid";
    /// Credentials: the key of that name is not yet or no longer good.
    ExpiredKid = "expired_kid";
    /// Credentials: the ACCESS-TOKEN cannot be read, or was not sealed with that key for this server.
    BadToken = "bad_token";
    /// Credentials: the ACCESS-TOKEN was good once, or will be.
    ExpiredToken = "expired_token";
    /// Credentials: the ACCESS-TOKEN is good, and the request is not signed with the key in it.
    NotTheBearer = "not_the_bearer";
    /// Credentials: REALM is not this server's.
    WrongRealm = "wrong_realm";
    /// Credentials: the nonce was issued here and is too old.
    StaleNonce = "stale_nonce";
    /// Credentials: the nonce was not issued by this server to this address, or before it changed what it offers.
    ForeignNonce = "foreign_nonce";

    /// Request: malformed or contradictory.
    BadRequest = "bad_request";
    /// Request: a comprehension-required attribute the server does not know.
    UnknownAttributes = "unknown_attributes";
    /// Request: no allocation on this 5-tuple, or one too many.
    AllocationMismatch = "allocation_mismatch";
    /// Request: authenticated as somebody other than the allocation's owner.
    NotTheOwner = "not_the_owner";
    /// Request: another server is to serve this client.
    TryAlternate = "try_alternate";
    /// Request: the server is about to end and takes nobody in any more.
    Draining = "draining";
    /// Request: another ORIGIN than that of the Allocate that made the session.
    OriginMismatch = "origin_mismatch";
    /// Request: a transport towards peers that is not offered.
    UnsupportedTransport = "unsupported_transport";
    /// Request: an address family that is not offered.
    UnsupportedFamily = "unsupported_family";
    /// Request: the user has as many allocations as `user-quota` allows.
    UserQuota = "user_quota";
    /// Request: the realm has as many allocations as `total-quota` allows.
    TotalQuota = "total_quota";
    /// Request: all of `bps-capacity` is granted.
    NoBandwidth = "no_bandwidth";
    /// Request: no relayed port is free.
    NoPort = "no_port";
    /// Request: the reservation token is unknown or has expired.
    UnknownReservation = "unknown_reservation";
    /// Request: the socket of the relayed address could not be opened.
    RelayFailed = "relay_failed";
    /// Request: the allocation has as many permissions as it may have.
    TooManyPermissions = "too_many_permissions";
    /// Request: a mobility ticket is asked for or shown, and mobility is off.
    MobilityForbidden = "mobility_forbidden";
    /// Request: a mobility ticket where none belongs, or one that this server has not sealed.
    BadTicket = "bad_ticket";
    /// Request: a mobility ticket that has been used.
    UsedTicket = "used_ticket";
    /// Request or data: on a port that sessions share, the peer is another session's or nobody's.
    PeerTaken = "peer_taken";
    /// Request: the session has claimed as many peers on a shared port as it may.
    TooManyPeers = "too_many_peers";
    /// Request: the channel number is out of range.
    BadChannelNumber = "bad_channel_number";
    /// Request: the channel is bound to another peer, or the peer to another channel.
    ChannelConflict = "channel_conflict";
    /// Request: TCP relaying, over UDP or DTLS.
    NeedsConnection = "needs_connection";
    /// Request: the relayed address has a connection with this peer already.
    ConnectionExists = "connection_exists";
    /// Request: the peer refused the connection, or there is no way to it.
    PeerUnreachable = "peer_unreachable";
    /// Request: the peer did not answer for 30 s.
    PeerTimeout = "peer_timeout";
    /// Request: as many connections with peers as there may be.
    TooManyConnections = "too_many_connections";
    /// Request: CONNECTION-ID names no connection that waits for this user.
    UnknownConnection = "unknown_connection";
}
