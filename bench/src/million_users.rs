//! A million users in SQLite and in PostgreSQL, in coturn's tables: made when a row first asks for them, and gone with
//! the laboratory.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use turnpike_client::Credentials;
use turnpike_wire::{LongTermKey, PasswordDigest};

use crate::lab::Lab;
use crate::rows::NotMeasured;
use crate::server::{PASSWORD, REALM};

/// The databases, as far as they were asked for.
#[derive(Default)]
pub(crate) struct MillionUsers {
    sqlite: OnceLock<PathBuf>,
    postgres: OnceLock<Postgres>,
}

/// A server of its own, on a local socket alone: namespaces share the file system.
struct Postgres {
    child: Child,
    directory: PathBuf,
}

impl MillionUsers {
    /// The option of both servers that leads to the SQLite file.
    pub(crate) fn in_sqlite(&self, lab: &Lab) -> Result<String> {
        if self.sqlite.get().is_none() {
            let _ = self.sqlite.set(fill_sqlite(&lab.directory)?);
        }
        let path = self.sqlite.get().context("the file was just made")?;
        Ok(format!("--userdb={}", path.display()))
    }

    /// The option of both servers that leads to the PostgreSQL server.
    pub(crate) fn in_postgres(&self, lab: &Lab) -> Result<String> {
        if self.postgres.get().is_none() {
            let _ = self.postgres.set(Postgres::start(lab)?);
        }
        let directory = &self.postgres.get().context("the server was just started")?.directory;
        Ok(format!("--psql-userdb=host={} dbname=postgres user=turn connect_timeout=5", directory.display()))
    }

    /// One of them; those of numbers that follow each other are far apart in every index.
    pub(crate) fn user(number: usize) -> Credentials {
        Credentials { username: name(number * STRIDE % USERS), password: PASSWORD.to_owned() }
    }
}

impl Postgres {
    fn start(lab: &Lab) -> Result<Self> {
        let programs = Path::new("/usr/lib/postgresql");
        let versions = fs::read_dir(programs).map_err(|_| missing("PostgreSQL"))?;
        let newest = versions.flatten().map(|entry| entry.path().join("bin")).max();
        let programs = newest.ok_or_else(|| missing("PostgreSQL"))?;
        let account = Command::new("id").args(["-u", "postgres"]).output()?;
        let account: u32 =
            String::from_utf8_lossy(&account.stdout).trim().parse().context("user postgres")?;
        let directory = lab.directory.join("postgres");
        fs::create_dir(&directory)?;
        chown(&directory, Some(account), Some(account))?;
        let data = directory.join("data");
        let as_owner = |program: &str| {
            let mut command = Command::new("setpriv");
            command.args([
                "--pdeathsig",
                "KILL",
                "--reuid",
                "postgres",
                "--regid",
                "postgres",
                "--clear-groups",
            ]);
            command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // Beside the generator, so that what it costs is not charged to the server.
            command.args(["taskset", "-c", &lab.cores.generator.to_string()]);
            command.arg(programs.join(program)).arg("-D").arg(&data);
            command
        };
        let made =
            as_owner("initdb").args(["-U", "turn", "-A", "trust", "--no-sync", "-E", "UTF8"]).status()?;
        ensure!(made.success(), "initdb failed: {made}");
        let child = as_owner("postgres")
            .arg("-k")
            .arg(&directory)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=256MB"])
            .spawn()
            .context("start PostgreSQL")?;
        let postgres = Postgres { child, directory };
        let deadline = Instant::now() + START_LIMIT;
        while postgres.query("select 1").is_err() {
            ensure!(Instant::now() < deadline, "PostgreSQL does not start");
            thread::sleep(Duration::from_millis(100));
        }
        postgres.query(include_str!("../../deploy/turndb/postgresql.sql"))?;
        let rows = write_rows(&lab.directory)?;
        postgres.query(&format!("\\copy turnusers_lt from '{}' csv", rows.display()))?;
        postgres.query("vacuum analyze turnusers_lt")?;
        Ok(postgres)
    }

    fn query(&self, text: &str) -> Result<()> {
        let mut psql = Command::new("psql");
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "turn", "-d", "postgres", "-h"]).arg(&self.directory);
        run(psql.args(["-c", text]))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its own processes end with it: nothing here is worth being written.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn fill_sqlite(directory: &Path) -> Result<PathBuf> {
    let (rows, path) = (write_rows(directory)?, directory.join("turndb"));
    let script = directory.join("fill.sql");
    let text = format!(
        "pragma synchronous=off;\n{}\n.mode csv\n.import {} turnusers_lt\n",
        include_str!("../../deploy/turndb/sqlite.sql"),
        rows.display()
    );
    fs::write(&script, text)?;
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-bail", "-batch"]).arg(&path).stdin(File::open(&script)?);
    run(&mut sqlite)?;
    Ok(path)
}

/// The rows of all users, as both databases take them in.
fn write_rows(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("users.csv");
    if path.exists() {
        return Ok(path);
    }
    let mut file = BufWriter::new(File::create(&path)?);
    for number in 0..USERS {
        let name = name(number);
        let key =
            LongTermKey::derive(PasswordDigest::Md5, name.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
        write!(file, "{REALM},{name},")?;
        key.bytes().iter().try_for_each(|byte| write!(file, "{byte:02x}"))?;
        writeln!(file)?;
    }
    file.flush()?;
    Ok(path)
}

fn name(number: usize) -> String {
    format!("user{number:07}")
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|_| missing(&program))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn missing(what: &str) -> NotMeasured {
    NotMeasured(format!("{what} is not installed"))
}

const USERS: usize = 1_000_000;
/// It has no divisor in common with [`USERS`], so that no user comes twice.
const STRIDE: usize = 104_729;
const START_LIMIT: Duration = Duration::from_secs(60);
