//! What Redis is told as it happens: keys that hold how things are, and messages. Nothing is told twice, since whoever
//! adds numbers up would count them twice; what is told to a connection that is lost is lost too.

use redis::pipe;

use super::link::Link;
use crate::Result;

/// A Redis server that is told what happens.
#[derive(Debug)]
pub struct RedisStatus {
    link: Link,
}

/// Something to tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusCommand {
    /// A key holds a value for so many seconds.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// After how many seconds it is gone by itself.
        seconds: u64,
    },
    /// A key is no more.
    Delete {
        /// The key.
        key: String,
    },
    /// A message for whoever has subscribed.
    Publish {
        /// The channel.
        channel: String,
        /// The message.
        message: String,
    },
}

impl RedisStatus {
    /// A connection string as coturn takes it; the server need not be reachable yet. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// The string makes no sense.
    pub fn connect(text: &str) -> Result<Self> {
        Ok(RedisStatus { link: Link::new(text)? })
    }

    /// Host and database, for people; never a password.
    pub fn address(&self) -> &str {
        &self.link.target.address
    }

    /// The host that is connected to, as written.
    pub fn hosts(&self) -> &[String] {
        &self.link.target.hosts
    }

    /// Tells all of it, in order.
    ///
    /// # Errors
    /// The server cannot be reached or refused it; some of it may have been heard.
    pub async fn tell(&self, commands: &[StatusCommand]) -> Result<()> {
        // A connection that was lost meanwhile is noticed by this, which may be asked twice.
        self.link.ask::<redis::Value>(pipe().cmd("PING")).await?;
        let mut pipeline = pipe();
        for command in commands {
            match command {
                StatusCommand::Set { key, value, seconds } => {
                    pipeline.cmd("SET").arg(key).arg(value).arg("EX").arg(*seconds).ignore()
                }
                StatusCommand::Delete { key } => pipeline.cmd("DEL").arg(key).ignore(),
                StatusCommand::Publish { channel, message } => {
                    pipeline.cmd("PUBLISH").arg(channel).arg(message).ignore()
                }
            };
        }
        self.link.tell(&pipeline).await
    }

    /// Removes the keys of this pattern whose values are said to be ours, and says how many. Others' stay.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn remove(&self, pattern: &str, is_ours: impl Fn(&str) -> bool + Send) -> Result<u64> {
        let (mut cursor, mut removed) = (0_u64, 0);
        loop {
            let mut scan = pipe();
            scan.cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED_AT_ONCE);
            let ((next, keys),): ((u64, Vec<Vec<u8>>),) = self.link.ask(&scan).await?;
            removed += self.remove_of(&keys, &is_ours).await?;
            if next == 0 {
                return Ok(removed);
            }
            cursor = next;
        }
    }

    async fn remove_of(&self, keys: &[Vec<u8>], is_ours: &(impl Fn(&str) -> bool + Send)) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let (values,): (Vec<Option<Vec<u8>>>,) = self.link.ask(pipe().cmd("MGET").arg(keys)).await?;
        let ours = |value: &Option<Vec<u8>>| {
            value.as_deref().is_some_and(|value| is_ours(&String::from_utf8_lossy(value)))
        };
        let ours: Vec<&Vec<u8>> =
            keys.iter().zip(&values).filter(|(_, value)| ours(value)).map(|(key, _)| key).collect();
        if ours.is_empty() {
            return Ok(0);
        }
        let count = ours.len() as u64;
        self.link.ask::<redis::Value>(pipe().cmd("DEL").arg(ours)).await?;
        Ok(count)
    }
}

const SCANNED_AT_ONCE: usize = 1000;
