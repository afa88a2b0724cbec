//! Waiting for sockets and for other threads: epoll and eventfd.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
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

    /// Stops watching. A descriptor that is closed is no longer watched either.
    ///
    /// # Errors
    /// The descriptor is not watched.
    pub fn remove(&self, descriptor: &impl AsRawFd) -> io::Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        self.control(libc::EPOLL_CTL_DEL, descriptor.as_raw_fd(), &mut event)
    }

    /// Waits until something can be read, or the timeout passes; `None` waits for ever. Never returns before the
    /// timeout without a reason, but may return with no events.
    ///
    /// # Errors
    /// As the system says; being interrupted is none.
    pub fn wait(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        // Rounded up: waking a moment too early would mean waking again and again until it is due.
        let milliseconds = timeout
            .map_or(-1, |timeout| i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        events.count = 0;
        // SAFETY: the events are a valid array of the length passed.
        let found = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.found.as_mut_ptr(),
                events.found.len() as i32,
                milliseconds,
            )
        };
        match usize::try_from(found) {
            Ok(found) => events.count = found,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
        Ok(())
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
        Events { found: vec![libc::epoll_event { events: 0, u64: 0 }; capacity].into(), count: 0 }
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
        self.found[..self.count].get(index).map(|event| event.u64)
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
        self.shared.woken.store(false, Ordering::Release);
    }
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
        let started = Instant::now();
        poller.wait(Some(Duration::from_micros(2500)), &mut Events::with_capacity(1)).unwrap();
        assert!(started.elapsed() >= Duration::from_micros(2500));
    }
}
