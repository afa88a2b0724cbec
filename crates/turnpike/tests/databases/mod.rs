//! Real database servers with coturn's tables, for tests that need more than SQLite. Each is there only where its
//! program is installed; elsewhere a test says that it was skipped.

#[allow(dead_code, reason = "what the store's own tests need of it is more")]
#[path = "../../../store/tests/stores/server.rs"]
mod server;

use server::{Server, installed};

/// A running server, and how it is connected to.
pub(crate) struct Database {
    pub(crate) name: &'static str,
    /// The flag of `turnadmin`.
    pub(crate) flag: &'static str,
    /// What `turnpike migrate` calls its kind.
    pub(crate) scheme: &'static str,
    pub(crate) connection: String,
    /// The most users it is good for: what only speaks another's protocol may be slow.
    #[allow(dead_code, reason = "only the test of many users asks")]
    pub(crate) most_users: u64,
    server: Server,
}

impl Database {
    /// Where it listens.
    #[allow(dead_code, reason = "only tests of outages ask")]
    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    /// Ends it in the middle of whatever it does.
    #[allow(dead_code, reason = "only tests of outages do")]
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, with what it has on its disk.
    #[allow(dead_code, reason = "only tests of outages do")]
    pub(crate) fn start(&mut self) {
        self.server.start();
    }

    /// As `turnpike migrate` takes it.
    #[allow(dead_code, reason = "tests of outages do without")]
    pub(crate) fn endpoint(&self) -> String {
        match self.scheme {
            "mongodb" => self.connection.clone(),
            scheme => format!("{scheme}:{}", self.connection),
        }
    }
}

/// All that are installed, one after the other.
#[allow(dead_code, reason = "tests of outages have each one by itself")]
pub(crate) fn all(test: &str) -> impl Iterator<Item = Database> {
    [postgres, mariadb, redis, mongo].into_iter().filter_map(move |start| start(test))
}

/// Those that speak SQL.
#[allow(dead_code, reason = "not every program that has these tests asks")]
pub(crate) fn sql(test: &str) -> impl Iterator<Item = Database> {
    [postgres, mariadb].into_iter().filter_map(move |start| start(test))
}

pub(crate) fn postgres(test: &str) -> Option<Database> {
    let program = installed(
        test,
        &[
            "/usr/lib/postgresql/15/bin/postgres",
            "/usr/lib/postgresql/17/bin/postgres",
            "/usr/lib/postgresql/16/bin/postgres",
        ],
    )?;
    let mut server = Server::prepare(program, "postgres", "database system is ready to accept connections");
    let password = server.file("password", PASSWORD);
    let data = path_in(&server, "data");
    server.lay_out_postgres(&data, &password);
    let (port, directory) = (server.port.to_string(), path_in(&server, ""));
    server.arguments(&["-D", &data, "-p", &port, "-k", &directory, "-c", "listen_addresses=127.0.0.1"]);
    server.arguments(&["-c", "fsync=off"]);
    server.start();
    let schema = include_str!("../../../../deploy/turndb/postgresql.sql");
    let mut psql = server.command("psql");
    psql.env("PGPASSWORD", PASSWORD).args(["-q", "-v", "ON_ERROR_STOP=1", "-h", &directory, "-p", &port]);
    let output = psql.args(["-U", "turn", "-d", "postgres", "-c", schema]).output().expect("psql");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let connection = format!("host=127.0.0.1 port={port} user=turn password={PASSWORD} dbname=postgres");
    Some(Database {
        name: "PostgreSQL",
        flag: "-e",
        scheme: "postgresql",
        connection,
        most_users: u64::MAX,
        server,
    })
}

pub(crate) fn mariadb(test: &str) -> Option<Database> {
    let program = installed(test, &["/usr/sbin/mariadbd", "/usr/sbin/mysqld"])?;
    let mut server = Server::prepare(program, "mysql", "ready for connections");
    let data = format!("--datadir={}", path_in(&server, "data"));
    let socket = path_in(&server, "socket");
    server.lay_out_mariadb(&data);
    // One statement a line.
    let first = format!(
        "DELETE FROM mysql.global_priv WHERE User = '';\nFLUSH PRIVILEGES;\n\
         CREATE OR REPLACE USER turn IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON turn.* TO turn;\n\
         CREATE DATABASE IF NOT EXISTS turn CHARACTER SET latin1;\n"
    );
    let first = format!("--init-file={}", server.file("first.sql", &first));
    let port = format!("--port={}", server.port);
    server.arguments(&[&port, &format!("--socket={socket}"), "--bind-address=127.0.0.1"]);
    // What was confirmed is with the kernel, and outlives the server.
    server.arguments(&["--innodb-flush-log-at-trx-commit=2", &first]);
    server.start();
    let schema = include_str!("../../../../deploy/turndb/mysql.sql");
    let mut client = server.command("mariadb");
    let arguments = ["--no-defaults", "-u", "root", "-S", &socket, "turn", "-e", schema];
    let output = client.args(arguments).output().expect("mariadb");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let connection = format!("host=127.0.0.1 port={} dbname=turn user=turn password={PASSWORD}", server.port);
    Some(Database { name: "MariaDB", flag: "-M", scheme: "mysql", connection, most_users: u64::MAX, server })
}

pub(crate) fn redis(test: &str) -> Option<Database> {
    let program = installed(test, &["/usr/bin/redis-server"])?;
    let mut server = Server::prepare(program, "redis", "Ready to accept connections");
    let (port, directory) = (server.port.to_string(), path_in(&server, ""));
    server.arguments(&["--port", &port, "--bind", "127.0.0.1", "--dir", &directory, "--save", ""]);
    // What was confirmed is still there when it comes back.
    server.arguments(&["--requirepass", PASSWORD, "--appendonly", "yes"]);
    server.start();
    let connection = format!("ip=127.0.0.1 port={port} dbname=2 password={PASSWORD}");
    Some(Database { name: "Redis", flag: "-N", scheme: "redis", connection, most_users: u64::MAX, server })
}

/// MongoDB itself, or a server that speaks its protocol, which the store's tests use too.
pub(crate) fn mongo(test: &str) -> Option<Database> {
    // This program is target/debug/deps/NAME.
    let target = std::env::current_exe().ok()?.ancestors().nth(3)?.join("mongo-servers/bin/secantusd-py");
    let program = installed(test, &["/usr/bin/mongod", target.to_str()?])?;
    let is_mongod = program.ends_with("mongod");
    let (account, ready) =
        if is_mongod { ("nobody", "Waiting for connections") } else { ("root", "istening") };
    let mut server = Server::prepare(program, account, ready);
    let (port, data) = (server.port.to_string(), path_in(&server, ""));
    if is_mongod {
        server.arguments(&["--bind_ip", "127.0.0.1", "--port", &port, "--dbpath", &data]);
    } else {
        let data = path_in(&server, "data");
        server.arguments(&["--host", "127.0.0.1", "--port", &port, "--storage-path", &data]);
        // Else it loses what it has confirmed in the tenth of a second before it is killed.
        server.arguments(&["--sync-on-commit"]);
    }
    server.start();
    let most_users = if is_mongod { u64::MAX } else { 2000 };
    let connection = format!("mongodb://127.0.0.1:{port}/turndb");
    Some(Database { name: "MongoDB", flag: "-J", scheme: "mongodb", connection, most_users, server })
}

fn path_in(server: &Server, name: &str) -> String {
    server.directory.path().join(name).to_str().expect("UTF-8").to_owned()
}

const PASSWORD: &str = "northwind";
