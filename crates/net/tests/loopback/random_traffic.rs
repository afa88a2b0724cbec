//! Ten thousand datagrams at random, compared with what arrives.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use turnpike_net::{Body, Datagram, Egress, IpFields, SocketId, UdpOptions};

use crate::station::{Station, pattern, plain};

#[test]
fn ten_thousand_random_datagrams_arrive_whole_and_in_order() {
    for seed in 1..=2 {
        run(seed, seed == 1);
    }
}

/// What was sent from one address to another.
type Flows = BTreeMap<(SocketAddr, SocketAddr), Vec<Vec<u8>>>;

fn run(seed: u64, segmentation: bool) {
    let mut random = Random(seed);
    let mut station = Station::new();
    // With room for all the bodies that are copied.
    station.egress = Egress::new(8192);
    if !segmentation {
        station.egress.disable_segmentation();
    }
    let mut groups = Vec::new();
    for ip in ["127.0.0.1", "::1"] {
        let senders = [0; 4].map(|_| station.open(ip, &plain()));
        let targets = [false, true, false, true].map(|gro| station.open(ip, &UdpOptions { gro, ..plain() }));
        groups.push((senders, targets));
    }
    let (mut pushed, mut segmented) = (0, 0);
    while pushed < 10_000 {
        let (mut sent, mut waiting) = (Flows::new(), BTreeMap::<SocketId, usize>::new());
        let mut queued = 0;
        while queued < 120 {
            let (senders, targets) = &groups[random.below(2)];
            let (from, target) = (senders[random.below(4)], targets[random.below(4)]);
            let burst = 1 + random.below(6) * random.below(4);
            let size = [20, 160, 1000, 1200, 1460, 3000][random.below(6)];
            for index in 0..burst {
                let size = if index + 1 == burst { random.below(size) } else { size };
                let bytes = push_one(&mut station, &mut random, from, target, size);
                sent.entry((station.address(from), station.address(target))).or_default().push(bytes);
                *waiting.entry(target).or_default() += 1;
            }
            queued += burst;
        }
        pushed += queued;
        let report = station.flush();
        assert_eq!((report.sent, report.dropped()), (queued as u64, 0));
        segmented += report.segmented;
        let mut arrived = Flows::new();
        for (target, count) in waiting {
            let to = station.address(target);
            for one in station.receive(target, count) {
                arrived.entry((one.message.from, to)).or_default().push(one.bytes);
            }
        }
        assert!(arrived == sent, "seed {seed}: what arrived is not what was sent");
    }
    assert_eq!(segmented > 0, segmentation && station.egress.segmentation());
}

/// Queues a datagram with random edges and fields; returns its bytes.
fn push_one(
    station: &mut Station,
    random: &mut Random,
    socket: SocketId,
    target: SocketId,
    size: usize,
) -> Vec<u8> {
    let (head, tail) = (pattern(1, random.below(2) * 36), pattern(2, random.below(2) * 8));
    let body = pattern(random.below(1000), size);
    let to = station.address(target);
    let ip = IpFields { tos: (random.below(10) == 0).then_some(0x20), ttl: None };
    let datagram = Datagram {
        socket,
        to,
        source: (random.below(10) == 0).then_some(to.ip()),
        head: &head,
        body: Body::Built(&body),
        tail: &tail,
        dont_fragment: random.below(20) == 0,
    };
    assert!(station.egress.push_with(&datagram, ip));
    [head, body, tail].concat()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((value ^ (value >> 31)) % end.max(1) as u64) as usize
    }
}
