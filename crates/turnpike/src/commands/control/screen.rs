//! A terminal taken over for a while: its other screen, no cursor, keys as they are typed. It is given back in whichever
//! way the program ends.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The terminal, until this is dropped.
pub(super) struct Screen {
    /// As it was, where keys can be read.
    before: Option<Termios>,
    keys: Receiver<u8>,
    told_to_end: Arc<AtomicBool>,
}

impl Screen {
    /// # Errors
    /// Standard output is no terminal, or signals cannot be caught.
    pub(super) fn take() -> io::Result<Self> {
        let told_to_end = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, told_to_end.clone())?;
        }
        let (sender, keys) = channel();
        let before = if io::stdin().is_terminal() { tcgetattr(io::stdin()).ok() } else { None };
        if let Some(before) = &before {
            let mut modes = before.clone();
            // Ctrl-C goes on to be a signal.
            modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
            tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
            thread::spawn(move || {
                let mut key = [0];
                while io::stdin().read(&mut key).is_ok_and(|length| length > 0) && sender.send(key[0]).is_ok()
                {
                }
            });
        }
        let screen = Screen { before, keys, told_to_end };
        write(ENTER)?;
        Ok(screen)
    }

    /// Shows these lines and nothing else.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn show(&self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from(HOME);
        for line in lines {
            text += line;
            text += END_OF_LINE;
        }
        text += END_OF_SCREEN;
        write(&text)
    }

    /// Waits for so long, or until the user has enough; says whether to go on.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.told_to_end.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            match self.keys.recv_timeout(left.min(GLANCE)) {
                Ok(b'q' | b'Q' | 27) => return false,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                // Nobody types here.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(left.min(GLANCE)),
            }
        }
        false
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        let _ = write(LEAVE);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// The other screen, without a cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[2J";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
const HOME: &str = "\u{1b}[H";
const END_OF_LINE: &str = "\u{1b}[K\r\n";
const END_OF_SCREEN: &str = "\u{1b}[J";
/// Between two looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);
