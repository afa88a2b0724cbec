//! Sending: trains, order, edges, and what cannot be sent.

use turnpike_net::{Body, Datagram, Egress, Sockets, Span, UdpOptions};

use crate::station::{Station, datagram, pattern, plain};

#[test]
fn equal_datagrams_leave_as_one_train_with_a_shorter_last_and_arrive_split() {
    let joining = UdpOptions { gro: true, ..plain() };
    for ip in ["127.0.0.1", "::1"] {
        let mut station = Station::new();
        let from = station.open(ip, &plain());
        let [joined, single] = [station.open(ip, &joining), station.open(ip, &plain())];
        for target in [joined, single] {
            let to = station.address(target);
            let sent: Vec<_> =
                (0..11).map(|index| pattern(index, if index < 10 { 1000 } else { 300 })).collect();
            sent.iter().for_each(|bytes| station.push(from, to, bytes));
            let report = station.flush();
            assert_eq!((report.sent, report.segmented, report.calls), (11, 11, 1));
            let arrived = station.receive(target, 11);
            assert_eq!(
                arrived.iter().map(|one| &one.bytes).collect::<Vec<_>>(),
                sent.iter().collect::<Vec<_>>()
            );
            let message = arrived[0].message;
            assert_eq!((message.is_train(), message.segment), (target == joined, 1000));
        }
    }
}

#[test]
fn a_longer_datagram_begins_a_new_train() {
    let mut station = Station::new();
    let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &plain()));
    let to = station.address(target);
    let sizes = [100, 100, 50, 50, 50, 200, 0, 0, 200, 1473, 1473];
    for (index, size) in sizes.into_iter().enumerate() {
        station.push(from, to, &pattern(index, size));
    }
    let report = station.flush();
    assert_eq!((report.sent, report.segmented), (11, 5), "two trains: 100 100 50 and 50 50");
    let expected: Vec<_> = sizes.into_iter().enumerate().map(|(index, size)| pattern(index, size)).collect();
    assert_eq!(station.receive_bytes(target, 11), expected);
}

#[test]
fn trains_stay_within_the_limits_of_the_kernel() {
    let mut station = Station::new();
    let options = UdpOptions { receive_buffer: 4 << 20, ..plain() };
    let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &options));
    let to = station.address(target);
    for (count, size) in [(150, 100), (100, 1400)] {
        let sent: Vec<_> = (0..count).map(|index| pattern(index, size)).collect();
        for (index, bytes) in sent.iter().enumerate() {
            station.push(from, to, bytes);
            if index % 50 == 49 {
                assert_eq!(station.flush().dropped(), 0);
                let expected = &sent[index - 49..=index];
                assert_eq!(station.receive_bytes(target, 50), expected);
            }
        }
    }
    (0..130).for_each(|index| station.push(from, to, &pattern(index, 10)));
    let report = station.flush();
    assert_eq!((report.sent, report.segmented, report.split), (130, 130, 0));
    assert_eq!(station.receive_bytes(target, 130).len(), 130);
}

#[test]
fn mixed_destinations_keep_the_order_of_each() {
    for segmentation in [true, false] {
        let mut station = Station::new();
        if !segmentation {
            station.egress.disable_segmentation();
        }
        let senders = [0; 3].map(|_| station.open("127.0.0.1", &plain()));
        let targets = [0; 3].map(|_| station.open("127.0.0.1", &plain()));
        let ways = targets.map(|target| station.address(target));
        for index in 0..90_usize {
            let body = pattern(index, 100);
            station.push(senders[index % 3], ways[index / 3 % 3], &body);
        }
        let report = station.flush();
        assert_eq!(report.sent, 90);
        for (number, target) in targets.into_iter().enumerate() {
            let arrived = station.receive(target, 30);
            for sender in senders {
                let address = station.address(sender);
                let from_it = arrived.iter().filter(|one| one.message.from == address);
                let bytes: Vec<_> = from_it.map(|one| one.bytes.clone()).collect();
                let way = senders.iter().position(|one| *one == sender).unwrap();
                let expected = (0..90).filter(|index| index % 3 == way && index / 3 % 3 == number);
                assert_eq!(bytes, expected.map(|index| pattern(index, 100)).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn head_body_and_tail_arrive_as_one_and_received_bytes_stay_as_they_were() {
    for (count, segmented) in [(1, 0), (8, 8)] {
        let mut station = Station::new();
        let [from, middle, target] = [0; 3].map(|_| station.open("127.0.0.1", &plain()));
        station.push(from, station.address(middle), &pattern(7, 1000));
        station.flush();
        let socket = station.sockets.get(middle).unwrap();
        let mut out = Vec::new();
        assert_eq!(station.receiver.receive(socket, 1, &mut station.pool, &mut out).unwrap(), 1);
        let to = station.address(target);
        for index in 0..count {
            assert!(station.egress.push(&Datagram {
                socket: middle,
                to,
                source: None,
                head: &[index, 1, 2, 3],
                body: Body::Received(out[0].span.part(4..999)),
                tail: &[index],
                dont_fragment: false,
            }));
        }
        let report = station.flush();
        assert_eq!((report.sent, report.segmented), (u64::from(count), segmented));
        assert_eq!(station.pool.bytes(out[0].span), pattern(7, 1000));
        for (index, bytes) in station.receive_bytes(target, usize::from(count)).iter().enumerate() {
            let index = index as u8;
            assert_eq!(bytes[..4], [index, 1, 2, 3]);
            assert_eq!(bytes[4..999], pattern(7, 1000)[4..999]);
            assert_eq!(bytes[999..], [index]);
        }
    }
}

#[test]
fn nothing_leaves_through_a_reused_descriptor() {
    let mut station = Station::new();
    let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &plain()));
    let to = station.address(target);
    station.push(from, to, b"too late");
    station.sockets.remove(from);
    let other = station.open("127.0.0.1", &plain());
    station.push(from, to, b"too late");
    station.push(other, to, b"in time");
    station.push(from, to, b"too late");
    let report = station.flush();
    assert_eq!((report.sent, report.stale, report.dropped()), (1, 3, 3));
    assert_eq!(station.receive_bytes(target, 1), [b"in time"]);
}

#[test]
fn what_is_forbidden_does_not_hold_up_the_rest() {
    let mut station = Station::new();
    let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &plain()));
    let to = station.address(target);
    // A broadcast address: not without asking for it.
    let forbidden = "127.255.255.255:9".parse().unwrap();
    for index in 0..40 {
        let to = if index % 4 == 0 { forbidden } else { to };
        station.push(from, to, &[index]);
    }
    let report = station.flush();
    assert_eq!((report.sent, report.forbidden, report.dropped()), (30, 10, 10));
    let expected: Vec<_> = (0..40).filter(|index| index % 4 != 0).map(|index| vec![index]).collect();
    assert_eq!(station.receive_bytes(target, 30), expected);
}

#[test]
fn a_full_queue_refuses_and_a_flush_makes_room() {
    let mut station = Station::new();
    let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &plain()));
    let to = station.address(target);
    station.egress = Egress::new(2);
    station.push(from, to, b"one");
    assert!(!station.egress.is_full());
    station.push(from, to, b"two");
    assert!(station.egress.is_full() && !station.egress.push(&datagram(from, to, b"three")));
    assert_eq!(station.flush().sent, 2);
    assert!(station.egress.is_empty() && station.egress.push(&datagram(from, to, b"three")));
    // Large bodies fill the arena before the queue.
    station.egress = Egress::new(1000);
    let large = vec![1; 60_000];
    let taken = (0..1000).take_while(|_| station.egress.push(&datagram(from, to, &large))).count();
    assert!((1..10).contains(&taken) && station.egress.is_full(), "{taken}");
}

#[test]
fn what_is_no_datagram_is_counted_as_too_large() {
    let mut station = Station::new();
    let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &plain()));
    let to = station.address(target);
    station.push(from, to, &vec![0; 65_508]);
    let endless = Span { buffer: 0, start: 0, end: u32::MAX };
    let mut datagram = datagram(from, to, &[]);
    datagram.body = Body::Received(endless);
    assert!(station.egress.push(&datagram));
    station.push(from, to, b"fits");
    let report = station.flush();
    assert_eq!((report.sent, report.too_large), (1, 2));
    assert_eq!(station.receive_bytes(target, 1), [b"fits"]);
    assert_eq!(station.egress.flush(&Sockets::default(), &station.pool).dropped(), 0);
}
