//! Behaviour that users of coturn rely on.

mod bandwidth;
mod classic;
mod draining;
mod fingerprint;
mod multiplex;
mod origin;
mod quotas;
mod reason_phrases;
mod rest_names;
mod server_relay;
