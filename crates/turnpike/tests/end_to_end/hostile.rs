//! Input that nobody sane sends: the server drops it, or answers with an error, and goes on.

use std::net::UdpSocket;

use crate::client::{TurnClient, binding_request, exchange};
use crate::harness::Server;

#[test]
fn bad_input_of_every_kind_leaves_it_serving() {
    let mut server = Server::start(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    let binding = binding_request();
    let mut wrong_cookie = binding.clone();
    wrong_cookie[4] ^= 1;
    let mut response = binding.clone();
    response[0] = 1;
    let mut lying_length = binding.clone();
    lying_length[3] = 200;
    let mut misaligned = binding.clone();
    misaligned[3] = 3;
    misaligned.extend([0; 3]);
    let mut overrun = binding.clone();
    overrun[3] = 4;
    overrun.extend([0, 6, 0xff, 0xff]);
    let huge = vec![0x41; 65_507];
    for message in [
        &[][..],
        &[0],
        &[0x40, 0, 0, 1],
        &[0xff; 40],
        &binding[..19],
        &wrong_cookie,
        &response,
        &lying_length,
        &misaligned,
        &overrun,
        &huge,
    ] {
        socket.send(message).unwrap();
    }
    let mut noise = 1u32;
    for round in 0..2000usize {
        let mut message = binding_request();
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        message.extend_from_slice(&[3, 4, 0, 4, 1, 2, 3, 4].repeat(round % 5));
        message[3] = (message.len() - 20) as u8;
        let at = noise as usize % message.len();
        message[at] ^= (noise >> 24) as u8;
        let _ = socket.send(&message);
    }
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    server.expect("new, realm=<example.org>");
    let finished = server.program.stop("TERM");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
}

#[test]
fn strangers_are_answered_only_so_often_and_it_is_told_once() {
    let mut server = Server::start(&["--unauthorized-ratelimit", "--unauthorized-ratelimit-rps=3"]);
    let socket = UdpSocket::bind("127.0.0.7:0").unwrap();
    socket.connect(server.address).unwrap();
    for _ in 0..60 {
        let mut allocate = binding_request();
        allocate[1] = 3;
        socket.send(&allocate).unwrap();
    }
    server.expect("401 rate-limit exceeded from 127.0.0.7, suppressing responses for this window");
    // Others, and the source's Binding requests, are answered all the same.
    TurnClient::hello(server.address).allocate();
    let request = binding_request();
    socket.send(&request).unwrap();
    let (mut answers, mut reply) = (0, [0; 1500]);
    socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    loop {
        let length = socket.recv(&mut reply).expect("the answer to the Binding request");
        if reply[8..20] == request[8..20] {
            assert!(length >= 32 && reply[..2] == [1, 1]);
            break;
        }
        answers += 1;
    }
    assert!((1..=12).contains(&answers), "{answers} answers to 60 requests");
}

#[test]
fn a_binding_request_is_answered_with_less_than_it_could_amplify() {
    let server = Server::start(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    let request = binding_request();
    let reply = exchange(&socket, &request).unwrap();
    assert!(reply.len() <= request.len() * 2, "{} bytes for {}", reply.len(), request.len());
}
