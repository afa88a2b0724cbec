//! Requests by hand: what attackers and probes say.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use turnpike_wire::attributes::{Nonce, Realm, Username};
use turnpike_wire::{Class, LongTermKey, Message, MessageWriter, Method, PasswordDigest, TransactionId};

/// A message of up to 2 KiB.
pub(crate) fn message(
    class: Class,
    method: Method,
    id: [u8; 12],
    build: impl FnOnce(&mut MessageWriter<'_>),
) -> Vec<u8> {
    let mut room = [0; 2048];
    let mut writer = MessageWriter::new(&mut room, class, method, TransactionId(id));
    build(&mut writer);
    writer.finish().map(<[u8]>::to_vec).unwrap_or_default()
}

/// A request with credentials.
pub(crate) fn signed(
    method: Method,
    id: [u8; 12],
    nonce: &[u8],
    build: impl FnOnce(&mut MessageWriter<'_>),
) -> Vec<u8> {
    let key =
        LongTermKey::derive(PasswordDigest::Md5, USER.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
    message(Class::Request, method, id, |writer| {
        build(writer);
        writer.add(&Username(USER.as_bytes())).add(&Realm(REALM.as_bytes())).add(&Nonce(nonce));
        writer.integrity_sha1(&key);
    })
}

/// Whether bytes are the response to this transaction.
pub(crate) fn answers(bytes: &[u8], id: [u8; 12]) -> bool {
    Message::parse(bytes).is_ok_and(|message| {
        matches!(message.class(), Class::Success | Class::Error) && message.transaction_id().0 == id
    })
}

/// Whether somebody answers a Binding request.
pub(crate) fn is_answered(server: SocketAddr, patience: Duration) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    let request = message(Class::Request, Method::BINDING, [1; 12], |_| {});
    let mut room = [0; 2048];
    socket.send_to(&request, server).is_ok()
        && socket.recv(&mut room).is_ok_and(|length| answers(&room[..length], [1; 12]))
}

pub(crate) const USER: &str = "soak";
pub(crate) const PASSWORD: &str = "secret";
pub(crate) const REALM: &str = "example.org";
