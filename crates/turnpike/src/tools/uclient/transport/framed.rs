//! What the streams have in common, with TLS and without: messages are taken out of the bytes that came.

use turnpike_client::FrameBuffer;

use super::Trouble;

/// A connection whose messages are framed by their own length.
pub(super) trait Framed {
    /// What came and was not taken yet.
    fn frames(&mut self) -> &mut FrameBuffer;

    /// Why there is no more to come.
    fn trouble_mut(&mut self) -> &mut Option<Trouble>;

    /// Reads once and says whether something came.
    fn fill(&mut self) -> bool;

    /// The next message. What came before the connection's end is still handed out.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match next_message(self.frames(), buffer) {
                Ok(Some(length)) => return Some(length),
                Ok(None) if self.trouble_mut().is_none() && self.fill() => {}
                Ok(None) => return None,
                Err(trouble) => {
                    self.trouble_mut().get_or_insert(trouble);
                    return None;
                }
            }
        }
    }

    /// What comes behind the last message, as it is.
    fn receive_bytes(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match self.frames().take_bytes(buffer) {
                0 if self.trouble_mut().is_none() && self.fill() => {}
                0 => return None,
                length => return Some(length),
            }
        }
    }
}

/// Takes the next whole message of a stream.
fn next_message(frames: &mut FrameBuffer, buffer: &mut [u8]) -> Result<Option<usize>, Trouble> {
    match frames.next_message() {
        Ok(Some(message)) => match buffer.get_mut(..message.len()) {
            Some(room) => {
                room.copy_from_slice(message);
                Ok(Some(message.len()))
            }
            None => Err(Trouble::Failed("a message is larger than any may be".to_owned())),
        },
        Ok(None) => Ok(None),
        Err(error) => Err(Trouble::Failed(error.to_string())),
    }
}
