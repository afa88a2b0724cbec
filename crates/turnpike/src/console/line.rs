//! A telnet connection, line by line (RFC 854): what its client negotiates is left out and not answered, which refuses
//! every option.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection.
pub(super) struct Line {
    reader: BufReader<TcpStream>,
}

impl Line {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_write_timeout(Some(SLOW))?;
        stream.set_nodelay(true)?;
        Ok(Line { reader: BufReader::with_capacity(LONGEST, stream) })
    }

    /// The next line without its end; `None` when there is none to come.
    ///
    /// # Errors
    /// The connection is broken, silent for too long, or the line has no end.
    pub(super) fn hear(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let byte = match self.byte()? {
                None => return Ok(None),
                Some(INTERPRET_AS_COMMAND) => match self.skip_command()? {
                    Some(byte) => byte,
                    None => continue,
                },
                Some(b'\n') => break,
                Some(b'\r' | 0) => continue,
                Some(byte) => byte,
            };
            line.push(byte);
            if line.len() > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(Some(String::from_utf8_lossy(&line).trim().to_owned()))
    }

    /// Writes a text; its line ends become those of telnet.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        let text = text.replace('\n', "\r\n");
        let (mut rest, begun) = (text.as_bytes(), Instant::now());
        while !rest.is_empty() {
            // One that reads a byte now and then must not keep the answer for ever either.
            if begun.elapsed() > SLOW {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let written = self.reader.get_mut().write(rest)?;
            rest = &rest[written..];
        }
        Ok(())
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        Ok((self.reader.read(&mut byte)? > 0).then_some(byte[0]))
    }

    /// Leaves a command out; the byte, if it stands for itself.
    fn skip_command(&mut self) -> io::Result<Option<u8>> {
        match self.byte()? {
            Some(INTERPRET_AS_COMMAND) => return Ok(Some(INTERPRET_AS_COMMAND)),
            Some(WILL..=DO_NOT) => drop(self.byte()?),
            Some(SUBNEGOTIATION) => {
                // A bounded one: whoever goes on and on is no telnet client.
                for _ in 0..LONGEST {
                    if self.byte()? == Some(INTERPRET_AS_COMMAND) && self.byte()? == Some(SUBNEGOTIATION_END)
                    {
                        return Ok(None);
                    }
                }
                return Err(io::ErrorKind::InvalidData.into());
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Bytes of a line.
const LONGEST: usize = 1024;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(600);
/// How long an answer may take to be read.
const SLOW: Duration = Duration::from_secs(5);
const INTERPRET_AS_COMMAND: u8 = 255;
const WILL: u8 = 251;
const DO_NOT: u8 = 254;
const SUBNEGOTIATION: u8 = 250;
const SUBNEGOTIATION_END: u8 = 240;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Line::new(listener.accept().unwrap().0).unwrap(), client)
    }

    #[test]
    fn lines_come_without_their_ends_and_without_what_telnet_negotiates() {
        let (mut line, mut client) = pair();
        client.write_all(b"\xff\xfb\x1fps \xff\xfd\x01hello\r\n").unwrap();
        client.write_all(b"\xff\xfa\x18\x00xterm\xff\xf0quit\n a\xff\xff\r\0\n").unwrap();
        assert_eq!(line.hear().unwrap().as_deref(), Some("ps hello"));
        assert_eq!(line.hear().unwrap().as_deref(), Some("quit"));
        assert_eq!(line.hear().unwrap().as_deref(), Some("a\u{fffd}"), "a byte that stands for itself");
        drop(client);
        assert_eq!(line.hear().unwrap(), None);
    }

    #[test]
    fn a_line_without_an_end_ends_the_connection() {
        let (mut line, mut client) = pair();
        client.write_all(&[b'x'; LONGEST + 1]).unwrap();
        assert_eq!(line.hear().unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (mut line, mut client) = pair();
        client.write_all(b"\xff\xfa").unwrap();
        client.write_all(&[1; LONGEST + 1]).unwrap();
        assert_eq!(line.hear().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
