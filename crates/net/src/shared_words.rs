//! Memory of a descriptor as words that others change too: another process, or a program in the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

/// Words of 64 bits, from the beginning of what the descriptor stands for.
#[derive(Debug)]
pub struct SharedWords {
    first: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: what is there is only ever used as atomic words, from whatever thread; unmapping is for the owner alone.
unsafe impl Send for SharedWords {}
// SAFETY: likewise.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `count` words, at least one. The descriptor may be closed after that.
    ///
    /// # Errors
    /// It cannot be mapped, or not to be written to; or there are too many words.
    pub fn map(descriptor: &impl AsFd, count: usize) -> io::Result<Self> {
        let length = count.checked_mul(size_of::<AtomicU64>()).ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = descriptor.as_fd().as_raw_fd();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses a place where nothing of ours is; the descriptor is open during the call.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, descriptor, 0) };
        match NonNull::new(start.cast()) {
            Some(first) if start != libc::MAP_FAILED => Ok(SharedWords { first, count }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// All of them.
    pub fn as_slice(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped until `self` is dropped, at the beginning of a page; any bytes are a word, and
        // whoever else has them may change them at any time, for which atomic words are meant.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: this is what was mapped, and nobody borrows of it any more.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::Ordering;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn what_one_writes_the_other_reads() {
        let memory = File::from(memfd_create("words", MemfdFlags::CLOEXEC).unwrap());
        memory.set_len(4096).unwrap();
        let [one, other] = [0, 1].map(|_| SharedWords::map(&memory, 512).unwrap());
        drop(memory);
        one.as_slice()[511].store(7, Ordering::Relaxed);
        assert_eq!(other.as_slice()[511].fetch_add(1, Ordering::Relaxed), 7);
        drop(other);
        assert_eq!(one.as_slice()[511].load(Ordering::Relaxed), 8);
        assert_eq!(one.as_slice().len(), 512);
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(SharedWords::map(&reader, 1).is_err());
        assert!(SharedWords::map(&reader, usize::MAX).is_err());
    }
}
