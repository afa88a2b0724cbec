//! What strangers and hostile users try.

mod amplification;
mod exhaustion;
mod floods;
mod malformed;
mod own_addresses;
mod peer_rules;
mod secrets;
