//! What the figures depend on: machine, kernel, versions, settings.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::arguments::{Against, Options};
use crate::lab::Offloads;

/// Facts to print beside every figure.
pub(crate) struct Facts {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) virtual_machine: bool,
    pub(crate) memory_mb: u64,
    pub(crate) ours_version: String,
    pub(crate) theirs_version: String,
    /// Arguments beside those both servers get.
    pub(crate) ours_arguments: Vec<String>,
    pub(crate) theirs_arguments: Vec<String>,
    pub(crate) against: Against,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) offloads: Offloads,
    /// How often a group of packets was sent.
    pub(crate) tick: Duration,
    pub(crate) bench_version: &'static str,
}

impl Facts {
    /// Asks the machine and the servers. Call before pinning, which hides the number of cores.
    pub(crate) fn gather(options: &Options) -> Result<Self> {
        let information = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let flags = field(&information, "flags").unwrap_or_default();
        Ok(Facts {
            date: jiff::ZonedDateTime::now().strftime("%Y-%m-%d").to_string(),
            processor: field(&information, "model name").unwrap_or("unknown").to_owned(),
            cores: thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
            memory_mb: field(&memory, "MemTotal")
                .and_then(|value| value.trim_end_matches(" kB").trim().parse::<u64>().ok())
                .unwrap_or_default()
                / 1024,
            ours_version: options.ours.version()?,
            theirs_version: options.theirs.version()?,
            ours_arguments: options.ours.extra.clone(),
            theirs_arguments: options.theirs.extra.clone(),
            against: options.against,
            rounds: options.rounds,
            quick: options.quick,
            offloads: options.offloads,
            tick: options.tick,
            bench_version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// One line about the machine.
    pub(crate) fn machine(&self) -> String {
        let kind = if self.virtual_machine { "virtual machine" } else { "machine" };
        format!("{kind}, {} cores of {}, Linux {}", self.cores, self.processor, self.kernel)
    }

    pub(crate) fn json(&self) -> Value {
        let [ours, theirs] = self.against.names();
        json!({
            "date": self.date,
            "processor": self.processor,
            "cores": self.cores,
            "kernel": self.kernel,
            "virtual_machine": self.virtual_machine,
            "memory_mb": self.memory_mb,
            "versions": {
                (ours): self.ours_version,
                (theirs): self.theirs_version,
                "bench": self.bench_version,
            },
            "extra_arguments": { (ours): self.ours_arguments, (theirs): self.theirs_arguments },
            "rounds": self.rounds,
            "quick": self.quick,
            "tick_us": self.tick.as_micros() as u64,
            "offloads": { "checksums": self.offloads.checksums, "segmentation": self.offloads.segmentation },
        })
    }
}

/// The value after `name` and a colon, on the first line that begins so.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_what_follows_the_colon() {
        let text = "processor\t: 0\nmodel name\t: Some Chip\nMemTotal:       100 kB\n";
        assert_eq!(field(text, "model name"), Some("Some Chip"));
        assert_eq!(field(text, "MemTotal"), Some("100 kB"));
        assert_eq!(field(text, "flags"), None);
    }
}
