//! The error codes a STUN/TURN server gives, and the phrase that goes with each.

/// A number for ERROR-CODE (RFC 8489 §14.8, RFC 8656 §19, RFC 6062 §6.3, RFC 8016 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorNumber(u16);

impl ErrorNumber {
    /// RFC 8489 §10.
    pub const TRY_ALTERNATE: ErrorNumber = ErrorNumber(300);
    /// RFC 8489 §14.8.
    pub const BAD_REQUEST: ErrorNumber = ErrorNumber(400);
    /// RFC 8489 §9.2.
    pub const UNAUTHENTICATED: ErrorNumber = ErrorNumber(401);
    /// RFC 8656 §10.
    pub const FORBIDDEN: ErrorNumber = ErrorNumber(403);
    /// RFC 8016 §3.2.
    pub const MOBILITY_FORBIDDEN: ErrorNumber = ErrorNumber(405);
    /// RFC 8489 §6.3.1.
    pub const UNKNOWN_ATTRIBUTE: ErrorNumber = ErrorNumber(420);
    /// RFC 8656 §5.
    pub const ALLOCATION_MISMATCH: ErrorNumber = ErrorNumber(437);
    /// RFC 8489 §9.2.4.
    pub const STALE_NONCE: ErrorNumber = ErrorNumber(438);
    /// RFC 8656 §7.2.
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: ErrorNumber = ErrorNumber(440);
    /// RFC 8656 §5.
    pub const WRONG_CREDENTIALS: ErrorNumber = ErrorNumber(441);
    /// RFC 8656 §7.2.
    pub const UNSUPPORTED_TRANSPORT: ErrorNumber = ErrorNumber(442);
    /// RFC 8656 §10.
    pub const PEER_ADDRESS_FAMILY_MISMATCH: ErrorNumber = ErrorNumber(443);
    /// RFC 6062 §5.2.
    pub const CONNECTION_ALREADY_EXISTS: ErrorNumber = ErrorNumber(446);
    /// RFC 6062 §5.2.
    pub const CONNECTION_TIMEOUT_OR_FAILURE: ErrorNumber = ErrorNumber(447);
    /// RFC 8656 §7.2.
    pub const ALLOCATION_QUOTA_REACHED: ErrorNumber = ErrorNumber(486);
    /// RFC 8489 §14.8.
    pub const SERVER_ERROR: ErrorNumber = ErrorNumber(500);
    /// RFC 8656 §7.2.
    pub const INSUFFICIENT_CAPACITY: ErrorNumber = ErrorNumber(508);

    /// A number from 300 to 699; others are none.
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 300 && number <= 699 { Some(ErrorNumber(number)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The phrase the RFCs give (401 with the older RFCs' word, which tools look for); empty for a number they do not name.
    pub const fn reason(self) -> &'static str {
        match self {
            ErrorNumber::TRY_ALTERNATE => "Try Alternate",
            ErrorNumber::BAD_REQUEST => "Bad Request",
            ErrorNumber::UNAUTHENTICATED => "Unauthorized",
            ErrorNumber::FORBIDDEN => "Forbidden",
            ErrorNumber::MOBILITY_FORBIDDEN => "Mobility Forbidden",
            ErrorNumber::UNKNOWN_ATTRIBUTE => "Unknown Attribute",
            ErrorNumber::ALLOCATION_MISMATCH => "Allocation Mismatch",
            ErrorNumber::STALE_NONCE => "Stale Nonce",
            ErrorNumber::ADDRESS_FAMILY_NOT_SUPPORTED => "Address Family not Supported",
            ErrorNumber::WRONG_CREDENTIALS => "Wrong Credentials",
            ErrorNumber::UNSUPPORTED_TRANSPORT => "Unsupported Transport Protocol",
            ErrorNumber::PEER_ADDRESS_FAMILY_MISMATCH => "Peer Address Family Mismatch",
            ErrorNumber::CONNECTION_ALREADY_EXISTS => "Connection Already Exists",
            ErrorNumber::CONNECTION_TIMEOUT_OR_FAILURE => "Connection Timeout or Failure",
            ErrorNumber::ALLOCATION_QUOTA_REACHED => "Allocation Quota Reached",
            ErrorNumber::SERVER_ERROR => "Server Error",
            ErrorNumber::INSUFFICIENT_CAPACITY => "Insufficient Capacity",
            _ => "",
        }
    }
}
