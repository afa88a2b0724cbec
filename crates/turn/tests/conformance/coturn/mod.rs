//! Behaviour that users of coturn rely on.

mod bandwidth;
mod fingerprint;
mod quotas;
mod reason_phrases;
mod rest_names;
