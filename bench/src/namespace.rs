//! One network namespace, driven by `ip`.

use std::fs::{self, File};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::syscalls;

/// A network namespace by name; it may or may not exist yet.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace of that name.
    pub(crate) fn named(name: String) -> Self {
        Namespace { name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside, its process being the program itself.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `ip` on this namespace.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Runs a program inside and returns what it printed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program);
        command.args(arguments);
        output_of(command)
    }

    /// Runs `work` on a thread inside this namespace; sockets it opens stay there.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                syscalls::enter_network_namespace(&namespace).context("enter the network namespace")?;
                work()
            });
            worker.join().map_err(|_| anyhow!("a thread inside {} panicked", self.name))?
        })
    }

    /// Packets `device` could not hand over because the other end's ring was full.
    pub(crate) fn transmit_drops(&self, device: &str) -> Result<u64> {
        let link = self.link(device)?;
        link["stats64"]["tx"]["dropped"].as_u64().context("ip did not tell dropped packets")
    }

    /// Frames of programs that `device` could not hand over because the other end's ring was full.
    pub(crate) fn redirect_drops(&self, device: &str) -> Result<u64> {
        let statistics = self.run("ethtool", &["-S", device])?;
        named_counter(&statistics, "tx_queue_0_xdp_xmit_errors")
            .context("ethtool did not tell dropped frames")
    }

    /// Datagrams that found a socket's receive buffer full.
    pub(crate) fn receive_buffer_errors(&self) -> Result<u64> {
        let counters = self.inside(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp")?))?;
        udp_counter(&counters, "RcvbufErrors").context("the kernel did not tell UDP receive errors")
    }

    /// The MAC address of a device.
    pub(crate) fn hardware_address(&self, device: &str) -> Result<String> {
        let link = self.link(device)?;
        Ok(link["address"].as_str().context("ip did not tell the hardware address")?.to_owned())
    }

    /// A device's number.
    pub(crate) fn index(&self, device: &str) -> Result<u32> {
        let index = self.link(device)?["ifindex"].as_u64().context("ip did not tell the device's index")?;
        Ok(u32::try_from(index)?)
    }

    /// Deletes it if it exists.
    pub(crate) fn remove(&self) -> Result<()> {
        if existing()?.contains(&self.name) {
            ip(&["netns", "delete", &self.name])?;
        }
        Ok(())
    }

    fn link(&self, device: &str) -> Result<Value> {
        let links: Value = serde_json::from_str(&self.ip(&["-s", "-j", "link", "show", "dev", device])?)?;
        links.get(0).cloned().context("ip did not show the device")
    }
}

/// The namespaces that have a name.
pub(crate) fn existing() -> Result<Vec<String>> {
    Ok(ip(&["netns", "list"])?
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

/// Runs `ip` and returns what it printed.
pub(crate) fn ip(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(arguments);
    output_of(command)
}

fn output_of(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A counter as ethtool prints it: its name, a colon, its value.
fn named_counter(statistics: &str, name: &str) -> Option<u64> {
    let mut counters = statistics.lines().filter_map(|line| line.trim().split_once(':'));
    counters.find(|(known, _)| *known == name)?.1.trim().parse().ok()
}

/// A counter of the table whose lines begin with "Udp:", first the names, then the numbers.
fn udp_counter(counters: &str, name: &str) -> Option<u64> {
    let mut lines = counters.lines().filter(|line| line.starts_with("Udp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let column = names.split_whitespace().position(|column| column == name)?;
    numbers.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_of_a_device_is_found_by_its_whole_name() {
        let statistics = "NIC statistics:\n     a_errors: 7\n     errors: 12\n";
        assert_eq!(named_counter(statistics, "errors"), Some(12));
        assert_eq!(named_counter(statistics, "err"), None);
    }

    #[test]
    fn a_udp_counter_is_found_by_its_column() {
        let counters = "Ip: A B\nIp: 1 2\nUdp: InDatagrams RcvbufErrors\nUdp: 70 5\nUdpLite: InDatagrams\n";
        assert_eq!(udp_counter(counters, "RcvbufErrors"), Some(5));
        assert_eq!(udp_counter(counters, "Nothing"), None);
    }
}
