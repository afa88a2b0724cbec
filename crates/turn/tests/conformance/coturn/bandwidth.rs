//! `max-bps` and `bps-capacity`: how much data a second a session may send and get.

use turnpike_turn::{Quotas, Reason};

use crate::harness::{Caller, OTHER_PEER, PEER, SECOND, Setup, World};

fn alice(number: u16) -> Caller {
    Caller::new(&format!("203.0.113.1:{}", 4000 + number))
}

fn world(rate: u64, capacity: u64) -> World {
    let mut setup = Setup::new();
    setup.quotas = Quotas::with_bandwidth(0, 0, rate, capacity);
    setup.build()
}

#[test]
fn data_beyond_the_limit_is_dropped_each_way_until_the_next_second() {
    let mut world = world(1000, 0);
    let mut caller = alice(1);
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.permit(&mut world, &[OTHER_PEER]).expect_success();
    for _ in 0..3 {
        caller.send_on(&mut world, 0x4000, &[1; 600]).expect_to_peer(PEER, &[1; 600]);
        caller.send(&mut world, OTHER_PEER, &[2; 400]).expect_to_peer(OTHER_PEER, &[2; 400]);
        caller.send_on(&mut world, 0x4000, &[3]).expect_drop(Reason::OverBandwidth);
        // The other way has its own.
        world.receive_from_peer(relayed, PEER, &[4; 1000]).expect_channel_data(0x4000, &[4; 1000]);
        world.receive_from_peer(relayed, PEER, &[5]).expect_drop(Reason::OverBandwidth);
        // Requests are no data.
        caller.refresh(&mut world, 600).expect_success();
        world.advance(SECOND);
    }
}

#[test]
fn what_was_dropped_does_not_count_as_relayed() {
    let mut world = world(100, 0);
    let mut caller = alice(1);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.send_on(&mut world, 0x4000, &[1; 101]).expect_drop(Reason::OverBandwidth);
    caller.send_on(&mut world, 0x4000, &[1; 100]).expect_to_peer(PEER, &[1; 100]);
    assert_eq!(world.server.stats().relayed().client_bytes, 100);
}

#[test]
fn the_last_session_gets_what_is_left_of_the_capacity_and_the_next_none() {
    let mut world = world(1000, 1500);
    let (mut first, mut second, mut third) = (alice(1), alice(2), alice(3));
    first.allocate(&mut world);
    second.allocate(&mut world);
    second.bind(&mut world, 0x4000, PEER).expect_success();
    second.send_on(&mut world, 0x4000, &[1; 501]).expect_drop(Reason::OverBandwidth);
    second.send_on(&mut world, 0x4000, &[1; 500]).expect_to_peer(PEER, &[1; 500]);
    third.allocate_with(&mut world, |_| {}).expect_error(486);
    first.refresh(&mut world, 0).expect_success();
    third.allocate(&mut world);
}
