//! Memory of a process, and of the kernel.

use std::fs;

use anyhow::{Context, Result};

/// What a server occupies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Bytes of the process that are in memory.
    pub(crate) resident: u64,
    /// Of these, bytes that come from no file: heap and stacks.
    pub(crate) anonymous: u64,
    /// Bytes of kernel objects of the whole machine: sockets, and everything else.
    pub(crate) kernel: u64,
}

impl Memory {
    /// Of this process, now.
    pub(crate) fn of(process: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("the server is gone")?;
        let machine = fs::read_to_string("/proc/meminfo")?;
        Ok(Memory {
            resident: kibibytes(&status, "VmRSS:")? * 1024,
            anonymous: kibibytes(&status, "RssAnon:")? * 1024,
            kernel: kibibytes(&machine, "Slab:")? * 1024,
        })
    }
}

fn kibibytes(text: &str, name: &str) -> Result<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .with_context(|| format!("the kernel did not tell {name}"))?;
    Ok(value.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_kibibytes_is_found_by_its_name() {
        let status = "Name:\tx\nVmRSS:\t   14840 kB\nRssAnon:\t    3604 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:").unwrap(), 14840);
        assert_eq!(kibibytes(status, "RssAnon:").unwrap(), 3604);
        assert!(kibibytes(status, "Slab:").is_err());
    }
}
