//! The functions of OpenSSL that its Rust bindings leave out.
#![allow(unsafe_code, reason = "the one island where these functions of C are declared and called")]

use std::ptr;
use std::time::Duration;

use foreign_types::ForeignTypeRef;
use libc::{c_int, c_long};
use openssl::ssl::{SslRef, SslStream};
use openssl_sys::{SSL, SSL_ctrl};

/// Reads a ClientHello that brings a cookie, and prepares for accepting it (`DTLSv1_listen`). `false` if OpenSSL finds
/// fault with it.
pub(crate) fn listen<S>(stream: &mut SslStream<S>) -> bool {
    // SAFETY: it takes no arguments, and returns null or an address that is freed below.
    let peer = unsafe { BIO_ADDR_new() };
    if peer.is_null() {
        return false;
    }
    // SAFETY: the session is alive and borrowed for this call alone, and `peer` is not null. The address is only written.
    let result = unsafe { DTLSv1_listen(stream.ssl().as_ptr(), peer) };
    // SAFETY: it was made above and is used by nobody any more.
    unsafe { BIO_ADDR_free(peer) };
    result == 1
}

/// How long until something is to be sent again; `None` if nothing is.
pub(crate) fn timeout(ssl: &SslRef) -> Option<Duration> {
    let mut left = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: `ssl` is alive; this control writes a timeval to the place it is given, and nothing else.
    let runs = unsafe { SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_GET_TIMEOUT, 0, (&raw mut left).cast()) };
    let seconds = u64::try_from(left.tv_sec).unwrap_or_default();
    let microseconds = u64::try_from(left.tv_usec).unwrap_or_default();
    (runs == 1).then(|| Duration::from_secs(seconds) + Duration::from_micros(microseconds))
}

/// Sends again what is due. `false` when it was tried too often.
pub(crate) fn handle_timeout<S>(stream: &mut SslStream<S>) -> bool {
    // SAFETY: the session is alive and borrowed for this call alone; this control takes no argument.
    let result = unsafe { SSL_ctrl(stream.ssl().as_ptr(), DTLS_CTRL_HANDLE_TIMEOUT, 0, ptr::null_mut()) };
    result >= 0
}

/// Has records no larger than so many bytes, headers of UDP and IP not counted.
pub(crate) fn set_datagram_size(ssl: &mut SslRef, bytes: u16) {
    // SAFETY: `ssl` is alive and borrowed for this call alone; this control takes a number.
    unsafe { SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_SET_LINK_MTU, c_long::from(bytes), ptr::null_mut()) };
}

/// Makes the buffers that a session needs to read and write, if they are not there. `false` if there is no memory.
pub(crate) fn make_buffers<S>(stream: &mut SslStream<S>) -> bool {
    // SAFETY: the session is alive and borrowed for this call alone.
    let result = unsafe { SSL_alloc_buffers(stream.ssl().as_ptr()) };
    result == 1
}

/// Gives those buffers back, unless they hold something.
pub(crate) fn free_buffers<S>(stream: &mut SslStream<S>) -> bool {
    // SAFETY: the session is alive and borrowed for this call alone. It makes no use of its buffers before they are made
    // again, which the caller sees to.
    let result = unsafe { SSL_free_buffers(stream.ssl().as_ptr()) };
    result == 1
}

/// Whether bytes of records that came are still to be read.
pub(crate) fn has_pending(ssl: &SslRef) -> bool {
    // SAFETY: `ssl` is alive, and this only looks at it.
    let result = unsafe { SSL_has_pending(ssl.as_ptr()) };
    result == 1
}

enum BioAddress {}

// SAFETY: these are the declarations of OpenSSL 1.1.1 to 3.x.
unsafe extern "C" {
    fn BIO_ADDR_new() -> *mut BioAddress;
    fn BIO_ADDR_free(address: *mut BioAddress);
    fn DTLSv1_listen(ssl: *mut SSL, peer: *mut BioAddress) -> c_int;
    fn SSL_alloc_buffers(ssl: *mut SSL) -> c_int;
    fn SSL_free_buffers(ssl: *mut SSL) -> c_int;
    fn SSL_has_pending(ssl: *const SSL) -> c_int;
}

const DTLS_CTRL_GET_TIMEOUT: c_int = 73;
const DTLS_CTRL_HANDLE_TIMEOUT: c_int = 74;
const DTLS_CTRL_SET_LINK_MTU: c_int = 120;
