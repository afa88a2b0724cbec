//! Nothing is allocated per packet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use turnpike_net::{
    Body, Datagram, Egress, GroPolicy, PacketPool, Receiver, SocketId, Sockets, UdpOptions, UdpSocket,
};

/// The system's allocator, counting what each thread asks of it.
struct Counting;

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; it came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[test]
fn a_relayed_packet_allocates_nothing() {
    let options = UdpOptions { packet_info: true, tos_and_ttl: true, ..UdpOptions::default() };
    let mut sockets = Sockets::default();
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let ids: Vec<SocketId> =
        (0..40).map(|_| sockets.insert(UdpSocket::bind(local, &options).unwrap())).collect();
    let addresses: Vec<_> = ids.iter().map(|id| sockets.get(*id).unwrap().local_address()).collect();
    let (mut egress, mut pool, mut receiver) = (Egress::new(2048), PacketPool::new(256), Receiver::new(16));
    let mut batch = Vec::with_capacity(64);
    let mut policies = vec![GroPolicy::default(); ids.len()];
    let mut sent = 0;
    let mut turn = |first: bool| {
        for (index, id) in ids.iter().enumerate() {
            pool.clear();
            batch.clear();
            let socket = sockets.get(*id).unwrap();
            receiver.receive(socket, 16, &mut pool, &mut batch).unwrap();
            if let Some(on) = policies[index].observe(&batch) {
                socket.set_gro(on).unwrap();
            }
            let to = addresses[(index * 7 + 1) % addresses.len()];
            let datagram = |body| Datagram {
                socket: *id,
                to,
                source: None,
                head: &[1, 2, 3, 4],
                body,
                tail: &[0],
                dont_fragment: false,
            };
            for span in batch.iter().flat_map(|received| received.datagrams()) {
                assert!(egress.push(&datagram(Body::Received(span.part(5..5000)))));
            }
            if first {
                (0..8).for_each(|_| assert!(egress.push(&datagram(Body::Built(&[7; 1000])))));
            }
            sent += egress.flush(&sockets, &pool).sent;
        }
    };
    turn(true);
    (0..3).for_each(|_| turn(false));
    let before = COUNT.get();
    (0..200).for_each(|_| turn(false));
    assert_eq!(COUNT.get() - before, 0);
    assert!(sent > 10_000, "{sent}");
}
