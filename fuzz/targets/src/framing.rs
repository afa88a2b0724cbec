//! A stream that arrives in pieces.

use turnpike_client::FrameBuffer;
use turnpike_wire::framing::{Frame, next_frame};

use crate::input::Input;

/// However a stream is cut, the same frames come out of it, and the same end.
pub fn framing(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cuts: [u8; 8] = input.array();
    let stream = if cuts[0] & 1 == 0 { input.rest().to_vec() } else { framed(&mut input) };
    let whole = frames_of(&stream);
    assert_eq!(frames_in_pieces(&stream, &cuts), whole);
    check_partial(&stream);
}

/// The frames of a stream, and whether it ends in something that is none.
type Frames = (Vec<Vec<u8>>, bool);

/// A stream of frames that are mostly well-formed.
fn framed(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < 70_000 {
        let kind = input.byte();
        let body = input.blob();
        let length = body.len() as u16;
        match kind % 8 {
            0 => stream.extend_from_slice(body),
            1..=3 => {
                stream.extend_from_slice(&[kind >> 3 & 0x3F, 1]);
                stream.extend_from_slice(&length.next_multiple_of(4).to_be_bytes());
                stream.extend_from_slice(&0x2112_A442_u32.to_be_bytes());
                stream.extend_from_slice(&[kind; 12]);
                stream.extend_from_slice(body);
                stream.resize(stream.len().next_multiple_of(4), 0);
            }
            _ => {
                stream.extend_from_slice(&[0x40 | kind >> 3, 1]);
                stream.extend_from_slice(&length.to_be_bytes());
                stream.extend_from_slice(body);
                stream.resize(stream.len() + (body.len().wrapping_neg() & 3), 0);
            }
        }
    }
    stream
}

fn frames_of(stream: &[u8]) -> Frames {
    let (mut frames, mut rest) = (Vec::new(), stream);
    loop {
        match next_frame(rest) {
            Frame::Whole { length, consumed } => {
                assert!(
                    length <= consumed && consumed <= rest.len() && consumed < length + 4 && consumed > 0
                );
                frames.push(rest[..length].to_vec());
                rest = &rest[consumed..];
            }
            Frame::Partial { needed } => {
                assert!(needed > rest.len(), "{needed} bytes are there already");
                return (frames, false);
            }
            Frame::Invalid => return (frames, true),
        }
    }
}

fn frames_in_pieces(stream: &[u8], cuts: &[u8; 8]) -> Frames {
    let (mut frames, mut buffer, mut rest) = (Vec::new(), FrameBuffer::new(), stream);
    for turn in 0.. {
        let cut = usize::from(cuts[turn % cuts.len()]) * if turn % 3 == 0 { 7 } else { 1 };
        let (piece, after) = rest.split_at(cut.max(1).min(rest.len()));
        buffer.push(piece);
        rest = after;
        loop {
            match buffer.next_message() {
                Ok(Some(message)) => frames.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    (frames, false)
}

/// With fewer bytes than were said to be needed there is no whole frame, whatever they are.
fn check_partial(stream: &[u8]) {
    let start = &stream[..stream.len().min(8)];
    for length in 0..=start.len() {
        if let Frame::Partial { needed } = next_frame(&start[..length]) {
            let most = stream.len().min(needed - 1);
            assert!(!matches!(next_frame(&stream[..most]), Frame::Whole { .. }), "{needed} were needed");
        }
    }
}
