//! The command-line tools that come with the server: a TURN client for load and diagnosis, an echo peer, a STUN
//! client, NAT behaviour discovery, access tokens, a database's
//! administration and a self-test. Their flags, summary lines and exit codes are those of coturn's tools of the same
//! names, so that scripts written for those work unchanged.

mod arguments;
pub mod natdiscovery;
pub mod oauth;
mod output;
pub mod peer;
pub mod rfc5769check;
pub mod stunclient;
pub mod turnadmin;
pub mod uclient;
