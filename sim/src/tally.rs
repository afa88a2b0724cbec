//! What a world has seen, by kind: so that a test can demand that everything was.

use turnpike_wire::attributes::PasswordAlgorithm;
use turnpike_wire::{AttributeType, Message};

use crate::actors::error_of;
use crate::observed::Action;

/// Success or which error.
pub(crate) fn reply_tally(bytes: &[u8]) -> String {
    match error_of(bytes) {
        Some(number) => format!("error {number}"),
        None => "success".into(),
    }
}

/// What of RFC 8489 §9.2 a request used that was let in.
pub(crate) fn features_used(request: &[u8], action: &Action) -> Vec<&'static str> {
    let granted = match action {
        Action::Reply { bytes, .. } => error_of(bytes).is_none(),
        action => matches!(action, Action::Wait(_)),
    };
    let Some(message) = Message::parse(request).ok().filter(|_| granted) else { return Vec::new() };
    let algorithm = message.get().ok().flatten().map(|chosen: PasswordAlgorithm<'_>| chosen.algorithm);
    let mut features = Vec::new();
    features.extend((algorithm == Some(PasswordAlgorithm::SHA256)).then_some("granted: sha256"));
    features.extend((algorithm == Some(PasswordAlgorithm::MD5)).then_some("granted: md5 by choice"));
    features.extend(message.has(AttributeType::USERHASH).then_some("granted: userhash"));
    features
}
