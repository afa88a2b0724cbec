//! Streams of frames, cut anywhere.

use proptest::collection::vec;
use proptest::prelude::*;
use turnpike_wire::framing::{Frame, next_frame};
use turnpike_wire::{Class, MessageWriter, Method, TransactionId, channel_data_header};

/// A message as it stands in a stream, and how much of it is not padding.
#[derive(Clone, Debug)]
struct Sent {
    bytes: Vec<u8>,
    length: usize,
}

fn sent() -> impl Strategy<Value = Sent> {
    let stun = (any::<[u8; 12]>(), vec(any::<u8>(), 0..200)).prop_map(|(id, data)| {
        let mut room = [0; 512];
        let mut writer = MessageWriter::new(&mut room, Class::Request, Method::SEND, TransactionId(id));
        let bytes = writer.add_raw(turnpike_wire::AttributeType::DATA, &data).length();
        Sent { bytes: room[..bytes].to_vec(), length: bytes }
    });
    let channel_data = (0x4000..0x8000_u16, vec(any::<u8>(), 0..200)).prop_map(|(channel, data)| {
        let mut bytes = [&channel_data_header(channel, data.len() as u16)[..], &data].concat();
        let length = bytes.len();
        bytes.resize(length.next_multiple_of(4), 0);
        Sent { bytes, length }
    });
    prop_oneof![stun, channel_data]
}

proptest! {
    #[test]
    fn the_same_frames_come_out_however_a_stream_is_cut(sent in vec(sent(), 0..8), cuts in vec(1..90_usize, 1..20)) {
        let stream: Vec<u8> = sent.iter().flat_map(|it| it.bytes.clone()).collect();
        let (mut arrived, mut start, mut frames) = (0, 0, Vec::new());
        for cut in cuts.iter().cycle() {
            arrived = stream.len().min(arrived + cut);
            loop {
                match next_frame(&stream[start..arrived]) {
                    Frame::Whole { length, consumed } => {
                        frames.push(stream[start..start + length].to_vec());
                        start += consumed;
                    }
                    Frame::Partial { needed } => {
                        prop_assert!(needed > arrived - start);
                        break;
                    }
                    Frame::Invalid => prop_assert!(false, "well-formed frames are followed"),
                }
            }
            if arrived == stream.len() {
                break;
            }
        }
        let expected: Vec<_> = sent.iter().map(|it| it.bytes[..it.length].to_vec()).collect();
        prop_assert_eq!(frames, expected);
        prop_assert_eq!(start, stream.len());
    }

    #[test]
    fn more_bytes_turn_only_a_partial_frame_into_something_else(stream in vec(any::<u8>(), 0..60), first in 0..0x80_u8) {
        let stream = [&[first][..], &stream].concat();
        let mut settled = None;
        for end in 0..=stream.len() {
            let frame = next_frame(&stream[..end]);
            if let Some(settled) = settled {
                prop_assert_eq!(frame, settled);
            }
            if !matches!(frame, Frame::Partial { .. }) {
                settled = Some(frame);
            }
        }
    }

    #[test]
    fn a_partial_frame_is_whole_only_once_the_bytes_it_needs_are_there(sent in sent()) {
        for end in 0..sent.bytes.len() {
            let Frame::Partial { needed } = next_frame(&sent.bytes[..end]) else {
                return Err(TestCaseError::fail("a frame is not whole before its end"));
            };
            prop_assert!(end < needed && needed <= sent.bytes.len());
        }
        let whole = Frame::Whole { length: sent.length, consumed: sent.bytes.len() };
        prop_assert_eq!(next_frame(&sent.bytes), whole);
    }
}
