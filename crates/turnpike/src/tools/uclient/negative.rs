//! Requests a server must refuse, asked on an allocation that works.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use turnpike_client::{Event, Failure};
use turnpike_wire::{AttributeType, Method};

use super::session::Stage;
use super::sessions::{Sessions, TIMER_TICK};
use crate::tools::output::info;

/// One request, and the code it has to be refused with.
struct Case {
    name: &'static str,
    method: Method,
    attributes: &'static [(AttributeType, &'static [u8])],
    expected: &'static [u16],
}

/// Asks everything in [`CASES`] on the first open session; a request that is granted, refused with another
/// code, or not answered fails the run.
pub(super) fn run(sessions: &mut Sessions) -> Result<()> {
    let Some(number) = sessions.all.iter().position(|session| session.stage == Stage::Open) else {
        bail!("no session for the negative tests");
    };
    for case in CASES {
        let answer = ask(sessions, number, case).with_context(|| format!("negative test: {}", case.name))?;
        if !case.expected.contains(&answer) {
            bail!("negative test: {}: error {answer} where {:?} was due", case.name, case.expected);
        }
        info!("negative test: {}: error {answer} as it should be", case.name);
    }
    Ok(())
}

/// The error code that came back.
fn ask(sessions: &mut Sessions, number: usize, case: &Case) -> Result<u16> {
    let now = sessions.now();
    let session = &mut sessions.all[number];
    let asked = session.client.custom_request(now, case.method, case.attributes)?;
    let deadline = now + PATIENCE;
    while sessions.now() < deadline {
        let now = sessions.now();
        let session = &mut sessions.all[number];
        session.client.handle_timeout(now);
        session.transmit(&mut sessions.output);
        let event = match session.transport.receive(&mut sessions.input) {
            Some(length) => session.client.handle_input(now, &sessions.input[..length]),
            None => {
                sessions.wait(TIMER_TICK)?;
                None
            }
        };
        match event {
            Some(Event::Failed { request, failure: Failure::Refused { number, .. }, .. })
                if request == asked =>
            {
                return Ok(number.number());
            }
            Some(Event::Failed { request, failure, .. }) if request == asked => bail!("{failure}"),
            Some(Event::CustomSucceeded { request }) if request == asked => bail!("granted"),
            _ => {}
        }
    }
    bail!("no answer")
}

const PATIENCE: Duration = Duration::from_secs(10);

/// 192.0.2.1:9, xored with the magic cookie; `[2001:db8::1]:9` cannot be, for its mask holds the transaction
/// id, but any bits make some IPv6 address.
const IPV4_PEER: &[u8] = &[0, 1, 0x21, 0x1B, 0xE1, 0x12, 0xA6, 0x43];
const IPV6_PEER: &[u8] = &[0, 2, 0x21, 0x1B, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

const CASES: &[Case] = &[
    Case {
        name: "Allocate on a 5-tuple that has an allocation",
        method: Method::ALLOCATE,
        attributes: &[(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])],
        expected: &[437],
    },
    Case {
        name: "CreatePermission without a peer",
        method: Method::CREATE_PERMISSION,
        attributes: &[],
        expected: &[400],
    },
    Case {
        name: "ChannelBind without a channel number",
        method: Method::CHANNEL_BIND,
        attributes: &[(AttributeType::XOR_PEER_ADDRESS, IPV4_PEER)],
        expected: &[400],
    },
    Case {
        name: "ChannelBind of a number below 0x4000",
        method: Method::CHANNEL_BIND,
        attributes: &[
            (AttributeType::CHANNEL_NUMBER, &[0x3F, 0xFF, 0, 0]),
            (AttributeType::XOR_PEER_ADDRESS, IPV4_PEER),
        ],
        expected: &[400],
    },
    Case {
        name: "ChannelBind to a peer of the other family",
        method: Method::CHANNEL_BIND,
        attributes: &[
            (AttributeType::CHANNEL_NUMBER, &[0x4F, 0xFE, 0, 0]),
            (AttributeType::XOR_PEER_ADDRESS, IPV6_PEER),
        ],
        expected: &[443, 403],
    },
    Case {
        name: "an attribute that must be understood and is not",
        method: Method::REFRESH,
        attributes: &[(AttributeType(0x7F00), &[1, 2, 3, 4])],
        expected: &[420],
    },
];
