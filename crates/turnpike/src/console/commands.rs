//! The commands: coturn's, with its words.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use turnpike_config::AlternateServer;
use turnpike_turn::{SessionFilter, SessionId, Transport};

use super::line::Line;
use super::parameters;
use super::sessions::Printer;
use crate::drain::Order;
use crate::drawing::harmless;
use crate::operations::{Operations, Request};

/// Somebody who has logged in.
pub(super) struct Session {
    operations: Arc<Operations>,
    from: SocketAddr,
    /// Sessions and users that are printed at once.
    most: u32,
    /// The realm it works in; `None` for all.
    realm: Option<Box<str>>,
    printer: Printer,
}

/// What comes after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The next one.
    Next,
    /// Nothing.
    End,
}

impl Session {
    pub(super) fn new(operations: Arc<Operations>, from: SocketAddr, most: u32) -> Self {
        Session { operations, from, most, realm: None, printer: Printer::default() }
    }

    pub(super) fn obey(&mut self, command: &str, line: &mut Line) -> io::Result<Outcome> {
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let text = match (word, rest) {
            ("", _) => return Ok(Outcome::Next),
            ("?" | "h" | "help", _) => HELP.to_owned(),
            ("quit" | "q" | "exit" | "bye", _) => return Ok(Outcome::End),
            ("ps", user) => {
                let user = Some(user).filter(|user| !user.is_empty()).map(Into::into);
                self.print_sessions(SessionFilter { user, ..SessionFilter::default() }, line)?
            }
            ("psp", "") => "  psp wants the beginning of a username\n".to_owned(),
            ("psp", prefix) => {
                let user_prefix = Some(prefix.into());
                self.print_sessions(SessionFilter { user_prefix, ..SessionFilter::default() }, line)?
            }
            ("psd", _) => {
                "  psd is not offered: it would write where the server may. Use: turnpike sessions\n"
                    .to_owned()
            }
            ("pu", transport) => self.print_users(transport),
            ("cs", id) => self.close(id),
            ("pc", _) => parameters::print(&self.operations, self.realm.as_deref(), self.most),
            ("tc", name) => self.toggle(name),
            ("cc", change) => self.change(change),
            ("sr", "") => "  sr wants a realm\n".to_owned(),
            ("sr", realm) => {
                self.realm = Some(realm.into());
                String::new()
            }
            ("ur", _) => {
                self.realm = None;
                String::new()
            }
            ("so" | "uo", _) => "  sessions are not told apart by their origin here\n".to_owned(),
            ("lr", _) => {
                self.operations.log.reopen();
                "  log reset done\n".to_owned()
            }
            ("drain", _) => {
                self.operations.drain(Order { timeout: None, ends_process: false }, &self.who());
                let progress = self.operations.draining.progress();
                progress.map_or_else(String::new, |progress| format!("  {progress}\n"))
            }
            ("stop" | "shutdown" | "halt", _) => match self.stop() {
                true => "  TURN server is shutting down\n".to_owned(),
                false => "  it is ending already\n".to_owned(),
            },
            (list, server) if LISTS.iter().any(|(names, _)| names.contains(&list)) => {
                self.alternate(list, server)
            }
            _ => "Unknown command\n".to_owned(),
        };
        line.say(&format!("{text}\n"))?;
        Ok(Outcome::Next)
    }

    /// Prints page by page, so that the memory it takes is that of a page.
    fn print_sessions(&mut self, filter: SessionFilter, line: &mut Line) -> io::Result<String> {
        let filter = SessionFilter { realm: self.realm.clone(), with_peers: true, ..filter };
        let (mut total, mut next) = (0_u64, Some(Default::default()));
        self.printer.begin();
        while let Some(from) = next {
            let page = match self.operations.sessions(&filter, from) {
                Ok(page) => page,
                Err(error) => return Ok(format!("  {error}\n")),
            };
            let mut text = String::new();
            for (_, session) in &page.sessions {
                total += 1;
                if total <= u64::from(self.most) {
                    text += &self.printer.print(total, session);
                }
            }
            line.say(&text)?;
            next = page.next;
        }
        let more = if total > u64::from(self.most) {
            format!("\n  (the first {}: see cli-max-output-sessions)\n", self.most)
        } else {
            String::new()
        };
        Ok(format!("{more}\n{}", self.total(total)))
    }

    fn print_users(&self, transport: &str) -> String {
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Dtls];
        let wanted = all.into_iter().find(|it| it.to_string().eq_ignore_ascii_case(transport));
        if wanted.is_none() && !transport.is_empty() {
            return "  pu wants udp, tcp, tls, dtls or nothing\n".to_owned();
        }
        let filter =
            SessionFilter { realm: self.realm.clone(), client_transport: wanted, ..SessionFilter::default() };
        let (mut users, mut total) = (BTreeMap::<Box<str>, u64>::new(), 0);
        let counted = self.operations.every_session(&filter, |_, session| {
            *users.entry(session.user.name().into()).or_default() += 1;
            total += 1;
            true
        });
        if let Err(error) = counted {
            return format!("  {error}\n");
        }
        let lines = users
            .iter()
            .take(self.most as usize)
            .map(|(user, sessions)| format!("\n    user: <{}>, {sessions} sessions", harmless(user)));
        format!("{}\n\n{}", lines.collect::<String>(), self.total(total))
    }

    fn total(&self, total: u64) -> String {
        match &self.realm {
            Some(realm) => format!("  Total sessions for realm {}: {total}\n", harmless(realm)),
            None => format!("  Total sessions: {total}\n"),
        }
    }

    fn close(&self, id: &str) -> String {
        let Some(id) = SessionId::parse(id) else {
            return "  cs wants the id of a session, as ps prints it\n".to_owned();
        };
        match self.operations.end_sessions(&SessionFilter { id: Some(id), ..SessionFilter::default() }) {
            Ok(ended) if ended.is_empty() => "  there is no such session\n".to_owned(),
            Ok(_) => {
                self.operations.log.info(&format!("session {id} was ended ({})", self.who()));
                "  the session was closed\n".to_owned()
            }
            Err(error) => format!("  {error}\n"),
        }
    }

    fn toggle(&self, name: &str) -> String {
        match parameters::toggle(&self.operations, name) {
            Some(on) => {
                let state = parameters::on_off(on);
                self.operations.log.info(&format!("{name} is {state} now ({})", self.who()));
                format!("  {name}: {state}\n")
            }
            None => format!("  {} is not toggleable; pc marks what is with (*)\n", harmless(name)),
        }
    }

    fn change(&mut self, change: &str) -> String {
        let (name, value) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
        let Ok(value) = value.trim().parse::<u64>() else {
            return "  cc wants the name of a parameter and a number\n".to_owned();
        };
        let changed = match (name, u32::try_from(value)) {
            ("cli-max-output-sessions", Ok(most)) => {
                self.most = most;
                Ok(())
            }
            _ => parameters::change(&self.operations, name, value),
        };
        match changed {
            Ok(()) => {
                self.operations.log.info(&format!("{name} is {value} now ({})", self.who()));
                format!("  {name}: {value} (**)\n")
            }
            Err(why) => format!("  {why}\n"),
        }
    }

    /// Adds a server to a list of those that clients are sent to, or takes it out.
    fn alternate(&self, command: &str, server: &str) -> String {
        let Some((names, port)) = LISTS.iter().find(|(names, _)| names.contains(&command)) else {
            return String::new();
        };
        let Some(address) = address(server, *port) else {
            return format!("  {command} wants an address: IP or IP:PORT\n");
        };
        let adds = command.starts_with('a');
        let count = self.operations.rulebook.change(|parts| {
            let lists = &mut Arc::make_mut(&mut parts.settings).balancing.alternate_servers;
            let list = match names[0] {
                "aas" => &mut lists.any,
                "atas" => &mut lists.tls,
                "atcpas" => &mut lists.tcp,
                _ => &mut lists.udp,
            };
            list.retain(|server| server.address != address);
            if adds && list.len() < MOST_ALTERNATES {
                list.push(AlternateServer { address, name: None });
            }
            list.len()
        });
        self.operations.fleet.look_again();
        self.operations.log.info(&format!("{command} {address}: {count} in the list now ({})", self.who()));
        format!("  {count} in the list\n")
    }

    fn stop(&self) -> bool {
        self.operations.requests.send(Request::Stop(format!("Terminating ({})", self.who()))).is_ok()
    }

    fn who(&self) -> String {
        format!("telnet console, {}", self.from)
    }
}

fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let ip = || text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    text.parse().ok().or_else(|| Some(SocketAddr::new(ip().ok()?, port)))
}

/// The commands of each list of servers, first the one that adds, and the port that is meant when none is said.
const LISTS: &[([&str; 2], u16)] = &[
    (["aas", "das"], 3478),
    (["atas", "dtas"], 5349),
    (["atcpas", "dtcpas"], 3478),
    (["audpas", "dudpas"], 3478),
];
/// Servers in a list.
const MOST_ALTERNATES: usize = 64;

const HELP: &str = "
  ?, h, help           these words
  quit, q, exit, bye   end this connection
  ps [USER]            sessions, of all or of this user
  psp TEXT             sessions of users whose names begin so
  pu [TRANSPORT]       users with their numbers of sessions; udp, tcp, tls or dtls alone
  cs ID                close a session
  pc                   parameters: (*) tc toggles, (**) cc changes
  tc NAME              toggle a parameter
  cc NAME NUMBER       change a parameter
  sr REALM, ur         look at one realm, or at all again
  aas, das IP[:PORT]         add or take out a server that clients are sent to
  atas, dtas IP[:PORT]       the same, for TLS and DTLS
  atcpas, dtcpas IP[:PORT]   the same, for TCP
  audpas, dudpas IP[:PORT]   the same, for UDP and DTLS
  lr                   open the log's file again
  drain                take nobody new in, and end when all sessions have
  stop, shutdown, halt end the server and every session
";
