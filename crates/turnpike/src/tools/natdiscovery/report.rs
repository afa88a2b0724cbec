//! What the tool prints: the lines that scripts know from coturn's tool of this name.

use std::net::SocketAddr;

use turnpike_client::BindingAnswer;

use crate::terminal::say;
use crate::tools::output::{family, info};

pub(super) fn title(title: &str) {
    say!("\n-= {title} Behavior Discovery =-");
}

pub(super) fn answer(number: u32, answer: &BindingAnswer, local: SocketAddr) {
    say!("\n{LINE}\nRFC 5780 response {number}");
    match answer.mapped_in_clear {
        None => say!("Not received mapped address attribute."),
        Some(mapped) if mapped == answer.mapped => say!("No ALG: Mapped == XOR-Mapped"),
        Some(mapped) => {
            say!("-= ALG detected! Mapped and XOR-Mapped differ! =-");
            info!("{}. Mapped Address: : {mapped}", family(&mapped));
        }
    }
    if let Some(origin) = answer.response_origin {
        info!("{}. Response origin: : {origin}", family(&origin));
    }
    if let Some(other) = answer.other_address {
        info!("{}. Other addr: : {other}", family(&other));
    }
    info!("{}. UDP reflexive addr: {}", family(&answer.mapped), answer.mapped);
    info!("{}. Local addr: : {local}", family(&local));
}

pub(super) fn verdict(text: &str) {
    say!("\n{LINE}\n{text}\n{LINE}");
}

pub(super) fn remark(text: &str) {
    say!("{text}");
}

pub(super) fn silence() {
    say!("STUN receive timeout..");
}

pub(super) fn error(reason: &str) {
    say!("The response is an {reason}");
}

const LINE: &str = "========================================";
