//! The old process's side: starts the new one, and hands over.

use std::os::fd::{AsFd, BorrowedFd};
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use turnpike_net::{Line, Parcel};
use turnpike_worker::{Command, Gift, Handover, Step, Taken};

use super::program::{Program, Unfit};
use super::protocol::{ESTATE, GO, GREETING, Greeting, Kernel, Kind, READY, REFUSED, SERVING, TAKEN, only};
use super::{Stage, Upgrades};
use crate::operations::{Operations, Request, Serving};

/// Begins an upgrade to this program, and says what comes of it to `done`, from a thread of its own.
pub(crate) fn begin(
    operations: Arc<Operations>,
    program: Program,
    done: impl FnOnce(Result<String, String>) + Send + 'static,
) {
    if let Err(why) = may_begin(&operations) {
        return done(Err(why));
    }
    *operations.upgrades.stage() = Stage::UnderWay;
    let lost = operations.clone();
    let spawned = thread::Builder::new().name("upgrade".into()).spawn(move || {
        let outcome = upgrade(&operations, &program);
        let stage = if outcome.is_ok() { Stage::Done } else { Stage::None };
        *operations.upgrades.stage() = stage;
        if stage == Stage::Done {
            ask_surely(&operations, || Request::HandedOver);
        }
        done(outcome);
    });
    if spawned.is_err() {
        *lost.upgrades.stage() = Stage::None;
        lost.log.error("Upgrade: the system gives no thread");
    }
}

/// Asks the main loop for something that has to be done, however much is asked of it.
pub(super) fn ask_surely(operations: &Operations, request: impl Fn() -> Request) {
    while operations.requests.send(request()).is_err() && operations.stage.now() != Serving::Stopping {
        thread::sleep(Duration::from_millis(50));
    }
}

fn may_begin(operations: &Operations) -> Result<(), String> {
    let Upgrades { successor, elsewhere, .. } = &operations.upgrades;
    match *operations.upgrades.stage() {
        Stage::UnderWay => return Err("an upgrade is under way already; this one is refused".into()),
        Stage::Done => {
            let process = successor.process();
            return Err(format!("process {process} has taken over from this one already: ask that one"));
        }
        Stage::None => {}
    }
    let elsewhere = elsewhere.lock().map(|count| *count).unwrap_or_default();
    if elsewhere > 0 {
        return Err(format!(
            "the process before this one still serves {elsewhere} sessions that could not move; end it with SIGTERM, or \
             wait until it ends"
        ));
    }
    if operations.stage.now() == Serving::Stopping {
        return Err("this server is stopping".into());
    }
    if operations.draining.progress().is_some() {
        return Err(
            "this server drains, which a new process would not: call that off first (turnpike undrain)"
                .into(),
        );
    }
    if std::process::id() == 1 {
        return Err(
            "this is process 1, with which its container ends: start another container instead".into()
        );
    }
    if operations.rulebook.read(|parts| parts.settings.multiplex) {
        return Err(
            "ports that sessions share (multiplex-peer) cannot be handed over yet: restart instead".into()
        );
    }
    Ok(())
}

fn upgrade(operations: &Arc<Operations>, program: &Program) -> Result<String, String> {
    match program.check() {
        Ok(()) => {}
        Err(Unfit::Unknown(why)) => return Err(why),
        Err(Unfit::Version(why)) => return Err(drain_instead(operations, why)),
    }
    let (here, there) = Line::pair().map_err(|error| error.to_string())?;
    let port = operations.rulebook.read(|parts| parts.settings.listening_port);
    let child = program.start(there, port);
    let child = child.map_err(|error| format!("{} does not start: {error}", program.path.display()))?;
    let process = child.id();
    operations.log.info(&format!("Upgrade: {} is starting as process {process}", program.path.display()));
    let mut heir = Heir { child, line: Arc::new(Mutex::new(here)) };
    match hand_over(operations, &mut heir) {
        Ok((sessions, stood_still)) => {
            reap(heir.child);
            Ok(format!(
                "process {process} has taken over {sessions} relayed addresses; packets waited for {} ms",
                stood_still.as_millis()
            ))
        }
        Err(why) => Err(format!("{why}. This process goes on as before")),
    }
}

/// The new process.
struct Heir {
    child: Child,
    line: Arc<Mutex<Line>>,
}

impl Heir {
    /// Ends it; says why it failed, and how it ended if it did so by itself.
    fn end(&mut self, why: String) -> String {
        let why = self.refusal().unwrap_or(why);
        let mut ended = self.child.try_wait().ok().flatten();
        // One whose end of the line is closed is about to be gone.
        for _ in 0..20 {
            if ended.is_some() || why != GONE {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            ended = self.child.try_wait().ok().flatten();
        }
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        match ended {
            Some(status) => format!("{why} (the new process ended: {status})"),
            None => why,
        }
    }

    /// What it has said last, if that is why it does not take over.
    fn refusal(&self) -> Option<String> {
        // A worker that still sends by it has nothing to wait for either.
        let line = self.line.try_lock().ok()?;
        line.set_patience(Some(Duration::from_millis(50))).ok()?;
        let parcel = line.receive().ok()??;
        let text = String::from_utf8_lossy(&parcel.bytes);
        (parcel.kind == REFUSED).then(|| format!("the new process refuses: {text}"))
    }

    /// The next parcel, which must be of this kind.
    fn expect(&self, kind: u8, patience: Duration) -> Result<Parcel, String> {
        let line = self.line();
        line.set_patience(Some(patience)).map_err(|error| error.to_string())?;
        match line.receive() {
            Ok(Some(parcel)) if parcel.kind == kind => Ok(parcel),
            Ok(Some(Parcel { kind: REFUSED, bytes, .. })) => {
                Err(format!("the new process refuses: {}", String::from_utf8_lossy(&bytes)))
            }
            Ok(Some(_)) => Err("the new process says something else than it should".into()),
            Ok(None) => Err(GONE.into()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Err(format!("the new process does nothing for {} s", patience.as_secs()))
            }
            Err(error) => Err(format!("the new process cannot be heard: {error}")),
        }
    }

    fn send(&self, kind: u8, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), String> {
        self.line()
            .send(kind, bytes, descriptors)
            .map_err(|error| format!("the new process does not listen: {error}"))
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Returns how many relayed addresses went over, and for how long nobody read. If it fails, the new process is gone before
/// this one reads on.
fn hand_over(operations: &Arc<Operations>, heir: &mut Heir) -> Result<(usize, Duration), String> {
    let taken = introduce(operations, heir).map_err(|why| heir.end(why))?;
    let began = Instant::now();
    let still = Still::new(operations);
    let sessions = give(&still, heir, &taken).map_err(|why| heir.end(why))?;
    let stood_still = began.elapsed();
    // It serves: from here on there is no way back. Before anybody here goes on, so that it hears of all that ends.
    let _ = heir.line().set_patience(Some(Duration::from_secs(1)));
    match heir.line().as_fd().try_clone_to_owned() {
        Ok(line) => operations.upgrades.successor.set(line.into(), heir.child.id()),
        Err(error) => operations.log.error(&format!(
            "Upgrade: the new process will not hear which sessions end here until this one ends: {error}"
        )),
    }
    let _ = still.all(|| Step::Leave);
    let _ = sd_notify::notify(&[NotifyState::MainPid(heir.child.id())]);
    Ok((sessions, stood_still))
}

/// Gives the new process the listening sockets, and waits until it is ready.
fn introduce(operations: &Operations, heir: &Heir) -> Result<Arc<Taken>, String> {
    let listening = operations.upgrades.listening();
    let (groups, kernel) = (&listening.groups, operations.upgrades.kernel());
    let greeting = Greeting {
        process: std::process::id(),
        threads: operations.workers.len() as u16,
        nonce_key: operations.upgrades.nonce_key.to_bytes(),
        groups: groups.iter().map(|group| (group.kind, group.address)).collect(),
        kernel: kernel.as_ref().map(Kernel::of),
    };
    let kinds: Vec<Kind> = groups.iter().map(|group| group.kind).collect();
    let sockets = groups.iter().flat_map(|group| &group.sockets);
    let of_kernel = kernel.iter().flat_map(|kernel| &kernel.descriptors);
    let descriptors: Vec<BorrowedFd<'_>> = sockets.chain(of_kernel).map(AsFd::as_fd).collect();
    heir.line().set_patience(Some(PATIENCE)).map_err(|error| error.to_string())?;
    heir.send(GREETING, &greeting.to_bytes(), &descriptors)?;
    // A reload is not to wait for the new process. What it listens on anew stays here.
    drop((listening, kernel));
    let ready = heir.expect(READY, PATIENCE_WITH_START)?;
    heir.line().set_patience(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let flags: Vec<bool> = only(&ready.bytes).ok_or("the new process says something else than it should")?;
    if flags.len() != kinds.len() {
        return Err("the new process has taken other sockets than there are".into());
    }
    if operations.stage.now() == Serving::Stopping {
        return Err("this server is stopping".into());
    }
    let of = |kind: Kind| {
        kinds.iter().zip(&flags).filter(|(of, _)| **of == kind).map(|(_, taken)| *taken).collect()
    };
    Ok(Arc::new(Taken { datagrams: of(Kind::Datagrams), streams: of(Kind::Connections) }))
}

/// Gives it everything that can go, until it serves. Returns the number of relayed addresses.
fn give(still: &Still, heir: &Heir, taken: &Arc<Taken>) -> Result<usize, String> {
    for _ in 0..ROUNDS {
        still.all(|| Step::Settle)?;
    }
    let mut sessions = 0;
    for (number, worker) in still.workers.iter().enumerate() {
        let gift = Gift { line: heir.line.clone(), kind: ESTATE, taken: taken.clone(), common: number == 0 };
        sessions += worker.step(Step::Give(gift))?;
    }
    heir.expect(TAKEN, PATIENCE)?;
    heir.send(GO, &[], &[])?;
    heir.expect(SERVING, PATIENCE)?;
    Ok(sessions)
}

/// The workers, who stand still until this is dropped or they are told to leave.
struct Still {
    workers: Vec<StillWorker>,
}

struct StillWorker {
    steps: Sender<Step>,
    answers: Receiver<Result<usize, String>>,
}

impl Still {
    fn new(operations: &Operations) -> Self {
        let stop = |worker: &crate::operations::WorkerHandle| {
            let ((steps, next), (told, answers)) = (channel(), channel());
            worker.mailbox.send(Command::HandOver(Handover { steps: next, answers: told }));
            StillWorker { steps, answers }
        };
        Still { workers: operations.workers.iter().map(stop).collect() }
    }

    /// Has all of them take a step.
    fn all(&self, step: impl Fn() -> Step) -> Result<(), String> {
        self.workers.iter().for_each(|worker| drop(worker.steps.send(step())));
        self.workers.iter().try_for_each(|worker| worker.answer().map(|_| ()))
    }
}

impl StillWorker {
    fn step(&self, step: Step) -> Result<usize, String> {
        let _ = self.steps.send(step);
        self.answer()
    }

    fn answer(&self) -> Result<usize, String> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(_) => Err("a worker of this process does not answer".into()),
        }
    }
}

/// The programs are of different versions: nobody new is taken in, and the new one can be started when all have gone.
fn drain_instead(operations: &Arc<Operations>, why: String) -> String {
    operations.log.warning(&format!("Upgrade: {why}: this process drains instead"));
    let _ = operations.requests.send(Request::DrainForUpgrade);
    format!("{why}. This process drains instead: start the new program when it has ended")
}

/// Waits for the new process in the background, for as long as this one is its parent.
fn reap(mut child: Child) {
    let _ = thread::Builder::new().name("successor".into()).spawn(move || child.wait());
}

/// Rounds in which workers take in what others have sent: an allocation that moves is asked for, given and taken.
const ROUNDS: usize = 4;
/// What is said of a new process that has ended, or is about to.
const GONE: &str = "the new process has gone";
/// For what takes milliseconds, and with a great many calls some hundred.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a start, which may wait for databases.
const PATIENCE_WITH_START: Duration = Duration::from_secs(60);
