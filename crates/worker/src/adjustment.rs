//! What of a worker may change while it runs, beside the rules that its server follows: how connections are treated,
//! and where clients come in. Nothing of a client that is there is touched.

use std::time::Duration;

use turnpike_net::TcpListener;

use crate::http::HttpAnswers;
use crate::links::Listener;
use crate::proxies::ProxyRules;
use crate::worker::{FIRST_LISTENER, Worker};

/// What is to be done otherwise from here on.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// How long a connection without an allocation may be silent, for those that are made from here on.
    pub idle: Duration,
    /// What is said to HTTP clients.
    pub http: HttpAnswers,
    /// Who may speak for others by the PROXY protocol.
    pub proxies: ProxyRules,
    /// Whether relay sockets that are opened from here on hear of ICMP errors.
    pub receive_errors: bool,
}

/// A worker's share of listening sockets that come after those it was born with.
#[derive(Debug)]
pub struct FurtherListeners {
    /// For datagrams.
    pub datagrams: Vec<Listener>,
    /// For connections.
    pub streams: Vec<TcpListener>,
}

impl Worker {
    pub(crate) fn adjust(&mut self, adjustment: &Adjustment) {
        let Adjustment { idle, http, proxies, receive_errors } = adjustment;
        self.datapath.streams.follow(*idle, http.clone(), proxies.clone());
        self.datapath.links.follow(proxies.clone());
        self.datapath.relays.set_receive_errors(*receive_errors);
    }

    pub(crate) fn listen(&mut self, further: FurtherListeners) {
        let FurtherListeners { datagrams, streams } = further;
        let datapath = &mut self.datapath;
        for listener in datagrams {
            // One that the system does not watch is silent, but has its number as in every other worker.
            let _ = datapath.links.add(listener, &mut datapath.sockets, &datapath.poller, FIRST_LISTENER);
        }
        for listener in streams {
            let _ = datapath.streams.listeners.add(listener, &datapath.poller);
        }
    }
}
