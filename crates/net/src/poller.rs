//! Waiting for sockets and for other threads: epoll and eventfd.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Tells which descriptors can be read.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

/// Room for what one wait finds.
pub struct Events {
    found: Box<[libc::epoll_event]>,
    count: usize,
}

/// What a connection is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Something to read, or its end.
    pub reading: bool,
    /// Room to write.
    pub writing: bool,
}

/// Wakes a poller from another thread. Waking twice before it looks is waking once.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<WakerState>,
}

#[derive(Debug)]
struct WakerState {
    event: OwnedFd,
    woken: AtomicBool,
}

impl Poller {
    /// An empty poller.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers; a descriptor it returns is ours alone.
        let epoll = unsafe { owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))? };
        Ok(Poller { epoll })
    }

    /// Watches a descriptor for something to read; `token` names it. It is reported as long as there is.
    ///
    /// # Errors
    /// The descriptor is watched already, or no memory is left.
    pub fn add(&self, descriptor: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        self.control(libc::EPOLL_CTL_ADD, descriptor.as_raw_fd(), &mut event)
    }

    /// Watches a connection for something to read or its end, and for room to write if `writing`; for the first time,
    /// or from here on.
    ///
    /// # Errors
    /// No memory is left.
    pub fn watch(&self, descriptor: &impl AsRawFd, token: u64, writing: bool, first: bool) -> io::Result<()> {
        let wanted = libc::EPOLLIN | libc::EPOLLRDHUP | if writing { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: wanted as u32, u64: token };
        let operation = if first { libc::EPOLL_CTL_ADD } else { libc::EPOLL_CTL_MOD };
        self.control(operation, descriptor.as_raw_fd(), &mut event)
    }

    /// Watches a connection for what is `wanted`, which until now was watched for something else or not at all. One
    /// that is watched for nothing is not watched: that a connection has broken would be reported again and again.
    ///
    /// # Errors
    /// No memory is left.
    pub fn change(
        &self,
        descriptor: &impl AsRawFd,
        token: u64,
        before: Interest,
        wanted: Interest,
    ) -> io::Result<()> {
        let reading = if wanted.reading { libc::EPOLLIN | libc::EPOLLRDHUP } else { 0 };
        let writing = if wanted.writing { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: (reading | writing) as u32, u64: token };
        let none = Interest::default();
        let operation = match (before == none, wanted == none) {
            (true, true) => return Ok(()),
            (true, false) => libc::EPOLL_CTL_ADD,
            (false, true) => libc::EPOLL_CTL_DEL,
            (false, false) => libc::EPOLL_CTL_MOD,
        };
        self.control(operation, descriptor.as_raw_fd(), &mut event)
    }

    /// Stops watching. A descriptor that is closed is no longer watched either.
    ///
    /// # Errors
    /// The descriptor is not watched.
    pub fn remove(&self, descriptor: &impl AsRawFd) -> io::Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        self.control(libc::EPOLL_CTL_DEL, descriptor.as_raw_fd(), &mut event)
    }

    /// Waits until something can be read, or the timeout passes; `None` waits for ever. Never returns before the
    /// timeout without a reason, but may return with no events. Exact to what the system's timers are: nanoseconds
    /// where the kernel takes them (Linux 5.11), otherwise rounded up to milliseconds.
    ///
    /// # Errors
    /// As the system says; being interrupted is none.
    pub fn wait(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        events.count = 0;
        // Most turns of a busy loop do not wait at all or for ever, which the plain call says as exactly.
        let exact = timeout.is_some_and(|timeout| !timeout.is_zero()) && EXACT.load(Ordering::Relaxed);
        let found =
            if exact { self.wait_exactly(timeout, events) } else { self.wait_roughly(timeout, events) };
        match found {
            Ok(found) => events.count = found,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if exact && error.raw_os_error() == Some(libc::ENOSYS) => {
                EXACT.store(false, Ordering::Relaxed);
                return self.wait(timeout, events);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn wait_exactly(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<usize> {
        let timeout = timeout.unwrap_or(Duration::MAX);
        let timeout = KernelTime {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(timeout.subsec_nanos()),
        };
        // SAFETY: the events are a valid array of the length passed, the timeout is what this call takes on every
        // architecture, and there is no signal mask. The C library's wrapper is too young to be relied on.
        let found = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                events.found.as_mut_ptr(),
                events.found.len() as libc::c_int,
                &raw const timeout,
                ptr::null::<libc::c_void>(),
                0_usize,
            )
        };
        usize::try_from(found).map_err(|_| io::Error::last_os_error())
    }

    fn wait_roughly(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<usize> {
        // Rounded up: waking a moment too early would mean waking again and again until it is due.
        let milliseconds = timeout
            .map_or(-1, |timeout| i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        // SAFETY: the events are a valid array of the length passed.
        let found = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.found.as_mut_ptr(),
                events.found.len() as i32,
                milliseconds,
            )
        };
        usize::try_from(found).map_err(|_| io::Error::last_os_error())
    }

    /// A waker whose wakes are reported as `token`.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn waker(&self, token: u64) -> io::Result<Waker> {
        // SAFETY: the call takes no pointers; a descriptor it returns is ours alone.
        let event = unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))? };
        self.add(&event, token)?;
        Ok(Waker { shared: Arc::new(WakerState { event, woken: AtomicBool::new(false) }) })
    }

    fn control(&self, operation: i32, descriptor: RawFd, event: &mut libc::epoll_event) -> io::Result<()> {
        // SAFETY: both descriptors are open, and `event` is valid during the call.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor, event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Events {
    /// Room for `capacity` events a wait.
    pub fn with_capacity(capacity: usize) -> Self {
        let none = libc::epoll_event { events: 0, u64: 0 };
        Events { found: vec![none; capacity.max(1)].into(), count: 0 }
    }

    /// How many the last wait found.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it found none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The token of the event at `index`.
    pub fn token(&self, index: usize) -> Option<u64> {
        self.get(index).map(|event| event.u64)
    }

    /// Whether the descriptor of the event at `index` has something to read.
    pub fn is_readable(&self, index: usize) -> bool {
        self.get(index).is_some_and(|event| event.events & (libc::EPOLLIN as u32) != 0)
    }

    /// Whether a connection has something to read, its end included.
    pub fn has_input(&self, index: usize) -> bool {
        let input = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
        self.get(index).is_some_and(|event| event.events & (input as u32) != 0)
    }

    /// Whether the descriptor of the event at `index` has room to write.
    pub fn is_writable(&self, index: usize) -> bool {
        self.get(index).is_some_and(|event| event.events & (libc::EPOLLOUT as u32) != 0)
    }

    /// Whether its error queue has something; see
    /// [`Receiver::receive_errors`](crate::Receiver::receive_errors).
    pub fn has_error(&self, index: usize) -> bool {
        self.get(index).is_some_and(|event| event.events & (libc::EPOLLERR as u32) != 0)
    }

    fn get(&self, index: usize) -> Option<libc::epoll_event> {
        self.found[..self.count].get(index).copied()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Events({} of {})", self.count, self.found.len())
    }
}

impl Waker {
    /// Wakes the poller.
    pub fn wake(&self) {
        if !self.shared.woken.swap(true, Ordering::AcqRel) {
            let one = 1_u64.to_ne_bytes();
            // SAFETY: the descriptor is open and the eight bytes are valid. The write can only fail when the
            // counter is full, and then the poller is awake anyway.
            unsafe { libc::write(self.shared.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// Takes note of the wakes so far: to be called before looking at what one was woken for.
    pub fn acknowledge(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: the descriptor is open and the eight bytes are valid to be written.
        unsafe { libc::read(self.shared.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        // Acquires what was done before the wakes that are hereby taken note of.
        self.shared.woken.swap(false, Ordering::AcqRel);
    }
}

/// The kernel's own idea of a timeout: 64 bits each, whatever the C library's is.
#[repr(C)]
struct KernelTime {
    seconds: i64,
    nanoseconds: i64,
}

/// # Safety
/// `descriptor` is −1, or open and nobody else's.
unsafe fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller says that it is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Cleared once the kernel has turned out not to know exact timeouts.
static EXACT: AtomicBool = AtomicBool::new(true);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_wake_from_another_thread_ends_the_wait_and_several_are_one() {
        let poller = Poller::new().unwrap();
        let waker = poller.waker(7).unwrap();
        let other = waker.clone();
        let thread = std::thread::spawn(move || (0..100).for_each(|_| other.wake()));
        let mut events = Events::with_capacity(4);
        poller.wait(Some(Duration::from_secs(10)), &mut events).unwrap();
        assert_eq!((events.len(), events.token(0)), (1, Some(7)));
        thread.join().unwrap();
        waker.acknowledge();
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert!(events.is_empty());
        waker.wake();
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn a_wait_never_ends_before_its_timeout() {
        let poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(1);
        let timeout = Duration::from_micros(2500);
        let started = Instant::now();
        poller.wait(Some(timeout), &mut events).unwrap();
        assert!(started.elapsed() >= timeout);
        let started = Instant::now();
        assert_eq!(poller.wait_roughly(Some(timeout), &mut events).unwrap(), 0);
        assert!(started.elapsed() >= timeout);
    }

    #[test]
    fn short_timeouts_are_not_rounded_up_to_milliseconds() {
        let poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(1);
        let timeout = Duration::from_micros(100);
        let shortest = (0..50)
            .map(|_| {
                let started = Instant::now();
                poller.wait(Some(timeout), &mut events).unwrap();
                started.elapsed()
            })
            .min()
            .unwrap();
        assert!(shortest >= timeout);
        assert!(shortest < Duration::from_millis(1) || !EXACT.load(Ordering::Relaxed), "{shortest:?}");
    }

    #[test]
    fn a_timeout_of_centuries_is_no_error() {
        let poller = Poller::new().unwrap();
        let waker = poller.waker(1).unwrap();
        waker.wake();
        let mut events = Events::with_capacity(1);
        poller.wait(Some(Duration::MAX), &mut events).unwrap();
        assert_eq!(events.token(0), Some(1));
        assert!(events.is_readable(0) && !events.has_error(0) && !events.is_readable(1));
    }
}
