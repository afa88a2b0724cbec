//! What became of datagrams, counted by kind.

use std::io;

/// What became of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Of these, datagrams that went as part of a train.
    pub segmented: u64,
    /// Trains that the kernel refused and that were sent datagram by datagram.
    pub split: u64,
    /// System calls made to send.
    pub calls: u64,
    /// Sends repeated because an ICMP error about an earlier datagram stood in the way.
    pub repeated: u64,
    /// Datagrams dropped because the socket's buffer was full.
    pub buffer_full: u64,
    /// Datagrams dropped because there is no route.
    pub unreachable: u64,
    /// Datagrams dropped because a firewall or the system's rules forbid them.
    pub forbidden: u64,
    /// Datagrams dropped because they are too large for the path and must not be fragmented, or for UDP.
    pub too_large: u64,
    /// Datagrams dropped because their socket was closed.
    pub stale: u64,
    /// Datagrams dropped for another error.
    pub failed: u64,
}

impl FlushReport {
    /// Adds another report.
    pub fn add(&mut self, other: &FlushReport) {
        self.sent += other.sent;
        self.segmented += other.segmented;
        self.split += other.split;
        self.calls += other.calls;
        self.repeated += other.repeated;
        self.buffer_full += other.buffer_full;
        self.unreachable += other.unreachable;
        self.forbidden += other.forbidden;
        self.too_large += other.too_large;
        self.stale += other.stale;
        self.failed += other.failed;
    }

    /// Datagrams that were not sent.
    pub fn dropped(&self) -> u64 {
        self.buffer_full + self.unreachable + self.forbidden + self.too_large + self.stale + self.failed
    }

    /// Counts datagrams that an error kept from being sent.
    pub(super) fn count_dropped(&mut self, error: &io::Error, datagrams: u64) {
        let counter = match error.raw_os_error().unwrap_or_default() {
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => &mut self.buffer_full,
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::ECONNREFUSED => &mut self.unreachable,
            libc::EPERM | libc::EACCES => &mut self.forbidden,
            libc::EMSGSIZE => &mut self.too_large,
            _ => &mut self.failed,
        };
        *counter += datagrams;
    }
}

/// What a refused train means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing about trains: its datagrams would fail alike.
    Other,
    /// Its datagrams may go one by one: too large for the path, or something in the way of this train.
    ThisTrain,
    /// There are no trains to be had: a device or its driver cannot.
    AllTrains,
}

impl Refusal {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().unwrap_or_default() {
            // Older kernels say EINVAL and newer ones EMSGSIZE of a segment that is larger than the MTU.
            libc::EMSGSIZE | libc::EINVAL => Refusal::ThisTrain,
            libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT => Refusal::AllTrains,
            _ => Refusal::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    #[test]
    fn every_drop_is_counted_once_and_by_its_kind() {
        let mut report = FlushReport::default();
        let codes = [
            libc::EAGAIN,
            libc::ENOBUFS,
            libc::ENETUNREACH,
            libc::EHOSTUNREACH,
            libc::EPERM,
            libc::EMSGSIZE,
            libc::EBADF,
        ];
        for code in codes {
            report.count_dropped(&error(code), 3);
        }
        assert_eq!((report.buffer_full, report.unreachable, report.forbidden), (6, 6, 3));
        assert_eq!((report.too_large, report.failed, report.dropped()), (3, 3, 21));
        let mut total = report;
        total.add(&report);
        assert_eq!(total.dropped(), 42);
    }

    #[test]
    fn a_full_buffer_is_no_reason_to_take_a_train_apart() {
        assert_eq!(Refusal::of(&error(libc::EAGAIN)), Refusal::Other);
        assert_eq!(Refusal::of(&error(libc::EMSGSIZE)), Refusal::ThisTrain);
        assert_eq!(Refusal::of(&error(libc::EIO)), Refusal::AllTrains);
    }
}
