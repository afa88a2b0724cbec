//! Counters of one worker: plain integers, read by copying.

use std::time::Duration;

use turnpike_wire::{ErrorNumber, Method};

use crate::allocation::Allocation;
use crate::effect::{EndCause, Usage};
use crate::histogram::Histogram;
use crate::realm_stats::RealmStats;
use crate::reason::Reason;
use crate::tuple::Transport;

/// Everything a server counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Dropped packets and refused requests, by [`Reason`].
    refusals: [u64; Reason::ALL.len()],
    /// Requests by method.
    pub requests: Requests,
    /// Answers by method and what they say.
    answers: [[u64; Answered::KINDS]; METHODS.len()],
    /// What is relayed, by realm.
    pub realms: RealmStats,
    /// ICMP errors passed on to clients.
    pub icmp_errors: u64,
    /// Allocations made.
    pub allocations_created: u64,
    /// Allocations ended.
    pub allocations_ended: u64,
    /// Allocations that came from other workers (RFC 8016), or from the process before this one.
    pub allocations_arrived: u64,
    /// Allocations that went to other workers, or to the process after this one.
    pub allocations_departed: u64,
    /// Those alive now, by what their clients come by.
    by_transport: [u64; Transport::ALL.len()],
    /// Those ended, by why.
    by_cause: [u64; EndCause::ALL.len()],
    /// How long they lived.
    pub durations: SessionDurations,
    /// How long requests waited for a database that did answer.
    pub database_waits: DatabaseWaits,
    /// 401 answers to requests without credentials.
    pub challenges: u64,
    /// Success responses sent.
    pub successes: u64,
    /// Error responses sent, challenges included.
    pub errors: u64,
    /// Sources that have used some of what they may have of answers before they have proved their address, as far as the
    /// last survey has seen.
    pub limited_sources: u64,
    /// How many could be told apart.
    pub source_places: u64,
}

/// How long allocations live.
pub type SessionDurations = Histogram<14>;
/// How long a database takes to answer.
pub type DatabaseWaits = Histogram<10>;

/// Requests received, by method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Binding.
    pub binding: u64,
    /// Allocate.
    pub allocate: u64,
    /// Refresh.
    pub refresh: u64,
    /// CreatePermission.
    pub create_permission: u64,
    /// ChannelBind.
    pub channel_bind: u64,
    /// Connect.
    pub connect: u64,
    /// ConnectionBind.
    pub connection_bind: u64,
    /// Anything else.
    pub other: u64,
}

impl Requests {
    fn add(&mut self, other: &Requests) {
        self.binding += other.binding;
        self.allocate += other.allocate;
        self.refresh += other.refresh;
        self.create_permission += other.create_permission;
        self.channel_bind += other.channel_bind;
        self.connect += other.connect;
        self.connection_bind += other.connection_bind;
        self.other += other.other;
    }

    /// Each method's name with its count; `other` for anything else.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("binding", self.binding),
            ("allocate", self.allocate),
            ("refresh", self.refresh),
            ("create_permission", self.create_permission),
            ("channel_bind", self.channel_bind),
            ("connect", self.connect),
            ("connection_bind", self.connection_bind),
            ("other", self.other),
        ]
        .into_iter()
    }
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Success.
    Success,
    /// An error.
    Error(ErrorNumber),
}

impl Answered {
    const KINDS: usize = ERRORS.len() + 1;

    fn place(self) -> usize {
        match self {
            Answered::Success => 0,
            // Every number that is given stands in the list.
            Answered::Error(number) => {
                ERRORS.iter().position(|known| *known == number).map_or(0, |at| at + 1)
            }
        }
    }

    fn at(place: usize) -> Self {
        place
            .checked_sub(1)
            .and_then(|at| ERRORS.get(at))
            .map_or(Answered::Success, |it| Answered::Error(*it))
    }
}

impl Stats {
    /// How often `reason` applied.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refusals[reason as usize]
    }

    /// Dropped packets and refused requests that ever were, with their counts.
    pub fn refusals(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|reason| (*reason, self.refused(*reason))).filter(|(_, count)| *count > 0)
    }

    /// Answers that ever were: to which method, what they said, and how many.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, Answered, u64)> + '_ {
        let of_method = |(name, counts): (&'static str, &'_ [u64; Answered::KINDS])| {
            let counts = *counts;
            (0..Answered::KINDS).map(move |place| (name, Answered::at(place), counts[place]))
        };
        let names = METHODS.iter().map(|(_, name)| *name);
        names.zip(&self.answers).flat_map(of_method).filter(|(_, _, count)| *count > 0)
    }

    /// How many answers of this kind a method got.
    pub fn answered(&self, method: Method, answered: Answered) -> u64 {
        self.answers[place_of(method)][answered.place()]
    }

    /// Allocations alive now.
    pub fn allocations(&self) -> u64 {
        self.allocations_created + self.allocations_arrived
            - self.allocations_ended
            - self.allocations_departed
    }

    /// Those alive now, by what their clients come by.
    pub fn by_transport(&self) -> impl Iterator<Item = (Transport, u64)> + '_ {
        Transport::ALL.into_iter().zip(self.by_transport)
    }

    /// Those that have ended, by why.
    pub fn by_cause(&self) -> impl Iterator<Item = (EndCause, u64)> + '_ {
        EndCause::ALL.into_iter().zip(self.by_cause)
    }

    /// What was relayed in all.
    pub fn relayed(&self) -> Usage {
        self.realms.relayed()
    }

    /// Adds what another worker has counted.
    pub fn add(&mut self, other: &Stats) {
        fn each<const N: usize>(sums: &mut [u64; N], more: &[u64; N]) {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        each(&mut self.refusals, &other.refusals);
        self.requests.add(&other.requests);
        self.answers.iter_mut().zip(&other.answers).for_each(|(sums, more)| each(sums, more));
        self.realms.add(&other.realms);
        each(&mut self.by_transport, &other.by_transport);
        each(&mut self.by_cause, &other.by_cause);
        self.durations.add(&other.durations);
        self.database_waits.add(&other.database_waits);
        self.icmp_errors += other.icmp_errors;
        self.allocations_created += other.allocations_created;
        self.allocations_ended += other.allocations_ended;
        self.allocations_arrived += other.allocations_arrived;
        self.allocations_departed += other.allocations_departed;
        self.challenges += other.challenges;
        self.successes += other.successes;
        self.errors += other.errors;
        self.limited_sources += other.limited_sources;
        self.source_places += other.source_places;
    }

    #[inline]
    pub(crate) fn count(&mut self, reason: Reason) {
        self.refusals[reason as usize] += 1;
    }

    pub(crate) fn count_request(&mut self, method: Method) {
        let counter = match method {
            Method::BINDING => &mut self.requests.binding,
            Method::ALLOCATE => &mut self.requests.allocate,
            Method::REFRESH => &mut self.requests.refresh,
            Method::CREATE_PERMISSION => &mut self.requests.create_permission,
            Method::CHANNEL_BIND => &mut self.requests.channel_bind,
            Method::CONNECT => &mut self.requests.connect,
            Method::CONNECTION_BIND => &mut self.requests.connection_bind,
            _ => &mut self.requests.other,
        };
        *counter += 1;
    }

    pub(crate) fn count_answer(&mut self, method: Method, answered: Answered) {
        match answered {
            Answered::Success => self.successes += 1,
            Answered::Error(_) => self.errors += 1,
        }
        self.answers[place_of(method)][answered.place()] += 1;
    }

    /// An allocation is in this worker's tables from here on.
    pub(crate) fn count_alive(&mut self, allocation: &Allocation) {
        self.by_transport[allocation.client.tuple.transport as usize] += 1;
        self.realms.count_allocation(allocation.realm);
    }

    /// It is no more.
    pub(crate) fn count_gone(&mut self, allocation: &Allocation) {
        self.by_transport[allocation.client.tuple.transport as usize] -= 1;
        self.realms.discount_allocation(allocation.realm);
    }

    /// An allocation's client comes by something else from here on.
    pub(crate) fn count_moved(&mut self, from: Transport, to: Transport) {
        self.by_transport[from as usize] -= 1;
        self.by_transport[to as usize] += 1;
    }

    pub(crate) fn count_ended(&mut self, cause: EndCause, lived: Duration) {
        self.allocations_ended += 1;
        self.by_cause[cause as usize] += 1;
        self.durations.note(lived);
    }
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            refusals: [0; Reason::ALL.len()],
            requests: Requests::default(),
            answers: [[0; Answered::KINDS]; METHODS.len()],
            realms: RealmStats::default(),
            icmp_errors: 0,
            allocations_created: 0,
            allocations_ended: 0,
            allocations_arrived: 0,
            allocations_departed: 0,
            by_transport: [0; Transport::ALL.len()],
            by_cause: [0; EndCause::ALL.len()],
            durations: Histogram::new(&LIVES),
            database_waits: Histogram::new(&WAITS),
            challenges: 0,
            successes: 0,
            errors: 0,
            limited_sources: 0,
            source_places: 0,
        }
    }
}

fn place_of(method: Method) -> usize {
    // A method that is not known gets no answer.
    METHODS.iter().position(|(known, _)| *known == method).unwrap_or(0)
}

/// What is answered at all.
const METHODS: [(Method, &str); 7] = [
    (Method::BINDING, "binding"),
    (Method::ALLOCATE, "allocate"),
    (Method::REFRESH, "refresh"),
    (Method::CREATE_PERMISSION, "create_permission"),
    (Method::CHANNEL_BIND, "channel_bind"),
    (Method::CONNECT, "connect"),
    (Method::CONNECTION_BIND, "connection_bind"),
];

/// Every error that is given.
const ERRORS: [ErrorNumber; 17] = [
    ErrorNumber::TRY_ALTERNATE,
    ErrorNumber::BAD_REQUEST,
    ErrorNumber::UNAUTHENTICATED,
    ErrorNumber::FORBIDDEN,
    ErrorNumber::MOBILITY_FORBIDDEN,
    ErrorNumber::UNKNOWN_ATTRIBUTE,
    ErrorNumber::ALLOCATION_MISMATCH,
    ErrorNumber::STALE_NONCE,
    ErrorNumber::ADDRESS_FAMILY_NOT_SUPPORTED,
    ErrorNumber::WRONG_CREDENTIALS,
    ErrorNumber::UNSUPPORTED_TRANSPORT,
    ErrorNumber::PEER_ADDRESS_FAMILY_MISMATCH,
    ErrorNumber::CONNECTION_ALREADY_EXISTS,
    ErrorNumber::CONNECTION_TIMEOUT_OR_FAILURE,
    ErrorNumber::ALLOCATION_QUOTA_REACHED,
    ErrorNumber::SERVER_ERROR,
    ErrorNumber::INSUFFICIENT_CAPACITY,
];

/// From calls that failed to those of a day.
const LIVES: [Duration; 14] = {
    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }
    [
        seconds(1),
        seconds(5),
        seconds(15),
        seconds(30),
        seconds(60),
        seconds(120),
        seconds(300),
        seconds(600),
        seconds(1200),
        seconds(1800),
        seconds(3600),
        seconds(7200),
        seconds(14_400),
        seconds(86_400),
    ]
};

/// From a database beside us to one that is as good as gone.
const WAITS: [Duration; 10] = {
    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
    [
        millis(1),
        millis(2),
        millis(5),
        millis(10),
        millis(25),
        millis(50),
        millis(100),
        millis(250),
        millis(1000),
        millis(2500),
    ]
};
