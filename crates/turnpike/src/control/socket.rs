//! The socket itself: who may come, how many, and how long one may take.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use serde_json::{Value, json};
use turnpike_config::ControlSocket;

use super::answers::{Guest, Problem};
use super::{VERSION, usual_place};
use crate::operations::Operations;

/// The socket of a running server; taken away with this.
#[derive(Debug, Default)]
pub(crate) struct ControlHandle(Arc<Mutex<Option<Bound>>>);

/// A socket in the file system.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    inode: u64,
}

impl ControlHandle {
    /// Listens where the configuration says. A server that cannot be spoken with serves all the same: what is wrong is
    /// logged. If another server has the socket, it waits for that one to end.
    pub(crate) fn open(operations: &Arc<Operations>) -> Self {
        let handle = ControlHandle::default();
        let setting = operations.rulebook.read(|parts| parts.settings.administration.control_socket.clone());
        let path = match setting {
            ControlSocket::Off => return handle,
            ControlSocket::At(path) => path,
            ControlSocket::Usual => match usual_place() {
                Some(path) => path,
                None => {
                    operations.log.info("Control socket: none (set control-socket)");
                    return handle;
                }
            },
        };
        let (operations, held) = (operations.clone(), handle.0.clone());
        let first = bind(&path);
        let log = operations.log.clone();
        match &first {
            Ok(_) => log.info(&format!("Control socket: {}", path.display())),
            Err(error) if is_taken(error) => log.info(&format!(
                "Control socket: {} is another running server's; this one takes it when that one ends. Set control-socket \
                 to give each its own",
                path.display()
            )),
            Err(error) => {
                log.warning(&format!("no control socket at {}: {error}; set control-socket", path.display()));
                return handle;
            }
        }
        let serving = thread::Builder::new().name("control".into()).spawn(move || {
            let Some((listener, bound)) = await_turn(&path, first) else { return };
            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
            serve(&listener, &operations);
        });
        if let Err(error) = serving {
            log.warning(&format!("no control socket, because the system gives no thread: {error}"));
        }
        handle
    }
}

impl Drop for ControlHandle {
    fn drop(&mut self) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Another server may have put its own there.
        if let Some(Bound { path, inode }) = held
            && fs::symlink_metadata(&path).is_ok_and(|found| found.ino() == inode)
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// Tries until the socket is free; gives up when something else is wrong.
fn await_turn(path: &Path, first: io::Result<(UnixListener, Bound)>) -> Option<(UnixListener, Bound)> {
    let mut tried = first;
    loop {
        match tried {
            Ok(bound) => return Some(bound),
            Err(error) if is_taken(&error) => thread::sleep(RETRY),
            Err(_) => return None,
        }
        tried = bind(path);
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Makes the socket beside its place, closes it to others, and only then puts it there: in place of one that a server left
/// that is no more, never of one that answers.
fn bind(path: &Path) -> io::Result<(UnixListener, Bound)> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    if let Ok(found) = fs::symlink_metadata(path)
        && !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type())
    {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket"));
    }
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    let placed = fs::set_permissions(&beside, Permissions::from_mode(0o600))
        .and_then(|()| fs::symlink_metadata(&beside))
        .and_then(|made| fs::rename(&beside, path).map(|()| made.ino()));
    match placed {
        Ok(inode) => Ok((listener, Bound { path: path.to_owned(), inode })),
        Err(error) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

fn serve(listener: &UnixListener, operations: &Arc<Operations>) {
    let guests = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // Out of descriptors, most likely: that passes, or nothing here would help.
            Err(_) => {
                thread::sleep(RETRY);
                continue;
            }
        };
        let (operations, guests) = (operations.clone(), guests.clone());
        if guests.fetch_add(1, Ordering::Relaxed) >= MOST_GUESTS {
            guests.fetch_sub(1, Ordering::Relaxed);
            let text = format!("{MOST_GUESTS} others are connected already");
            let _ =
                Conversation::begin(&stream).and_then(|mut it| it.say(Err(Problem::new("too_many", text))));
            continue;
        }
        let talking = guests.clone();
        let begun = thread::Builder::new().name("control guest".into()).spawn(move || {
            // Whatever is wrong with the connection, there is nobody to tell.
            let _ = converse(&stream, &operations);
            talking.fetch_sub(1, Ordering::Relaxed);
        });
        if begun.is_err() {
            guests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn converse(stream: &UnixStream, operations: &Arc<Operations>) -> io::Result<()> {
    let mut conversation = Conversation::begin(stream)?;
    let peer = socket_peercred(stream)?;
    let own = rustix::process::geteuid();
    if !peer.uid.is_root() && peer.uid != own {
        let (uid, own) = (peer.uid.as_raw(), own.as_raw());
        operations.log.warning(&format!("Control socket: user {uid} was refused"));
        let text = format!("only root and user {own}, whose server this is, may ask; this is user {uid}");
        return conversation.say(Err(Problem::new("forbidden", text)));
    }
    let who = format!("control, user {}, process {}", peer.uid.as_raw(), peer.pid.as_raw_nonzero());
    let mut guest = Guest::new(operations.clone(), who);
    loop {
        let answer = match conversation.hear()? {
            Heard::Question(question) => guest.answer(&question),
            Heard::TooLong => {
                let text = format!("a question has at most {LONGEST_QUESTION} bytes");
                return conversation.say(Err(Problem::new("too_long", text)));
            }
            Heard::NoJson(error) => Err(Problem::new("bad_request", format!("this is no JSON: {error}"))),
            Heard::End => return Ok(()),
        };
        conversation.say(answer)?;
    }
}

/// Questions and answers, a line each.
struct Conversation<'s> {
    reader: BufReader<&'s UnixStream>,
    writer: &'s UnixStream,
}

enum Heard {
    Question(Value),
    NoJson(serde_json::Error),
    TooLong,
    End,
}

impl<'s> Conversation<'s> {
    fn begin(stream: &'s UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_write_timeout(Some(SLOW))?;
        Ok(Conversation { reader: BufReader::new(stream), writer: stream })
    }

    fn hear(&mut self) -> io::Result<Heard> {
        let mut line = Vec::new();
        loop {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                return Ok(Heard::End);
            }
            let (taken, ends) = match available.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (available.len(), false),
            };
            line.extend_from_slice(&available[..taken]);
            self.reader.consume(taken);
            if line.len() > LONGEST_QUESTION {
                return Ok(Heard::TooLong);
            }
            if ends {
                return Ok(serde_json::from_slice(&line).map_or_else(Heard::NoJson, Heard::Question));
            }
        }
    }

    fn say(&mut self, answer: Result<Value, Problem>) -> io::Result<()> {
        let answer = match answer {
            Ok(answer) => json!({ "version": VERSION, "answer": answer }),
            Err(Problem { code, text }) => {
                json!({ "version": VERSION, "error": { "code": code, "text": text } })
            }
        };
        let line = format!("{answer}\n");
        let (mut rest, begun) = (line.as_bytes(), Instant::now());
        while !rest.is_empty() {
            // One that reads a byte now and then must not keep the answer for ever either.
            if begun.elapsed() > SLOW {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let written = self.writer.write(rest)?;
            rest = &rest[written..];
        }
        Ok(())
    }
}

/// Bytes of a question.
const LONGEST_QUESTION: usize = 4096;
/// Connections at once.
const MOST_GUESTS: usize = 32;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(300);
/// How long an answer may take to be read.
const SLOW: Duration = Duration::from_secs(5);
/// Between two looks whether the socket is free.
const RETRY: Duration = Duration::from_secs(1);
