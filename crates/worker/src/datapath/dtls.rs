//! The part of the way that DTLS clients take alone: out of records, and into them.

use std::mem;

use turnpike_net::Span;
use turnpike_turn::{Client, Link, Verdict};

use super::Datapath;
use crate::dtls::{DtlsCounters, Heard, Opened, Parting};
use crate::egress::{Payload, Ways, queue_datagram};

impl Datapath {
    /// A datagram that came by a listener and is a DTLS record by its first byte.
    pub(crate) fn dtls_datagram(&mut self, carrier: Client, span: Span) {
        if self.predecessor.is_some() && self.pass_to_predecessor(&carrier, span) {
            return;
        }
        let Some(dtls) = &mut self.dtls else { return };
        match dtls.hear(self.now.monotonic, carrier, self.pool.bytes(span)) {
            Heard::Nothing => {}
            Heard::Answer(answer) => {
                self.make_room_to_send();
                queue_datagram(&mut self.egress, &self.links, &carrier, &answer);
            }
            Heard::Flight => self.send_dtls(&carrier),
            Heard::For(place) => {
                // What is encrypted may be either's, and only its keys can tell.
                let read = place.established.is_some_and(|link| self.read_dtls(link, &carrier, span));
                if let Some(link) = place.half_open.filter(|_| !read) {
                    self.read_dtls(link, &carrier, span);
                }
            }
        }
    }

    /// Reads a datagram by an association's keys. Returns whether there was anything genuine in it.
    fn read_dtls(&mut self, link: Link, carrier: &Client, span: Span) -> bool {
        let Some(dtls) = &mut self.dtls else { return false };
        dtls.handle_datagram(link, self.pool.bytes(span));
        let mut room = mem::take(&mut self.plain_text);
        let mut genuine = false;
        while let Some(dtls) = &mut self.dtls {
            let opened = dtls.open(self.now.monotonic, link, &mut room);
            self.send_dtls(carrier);
            match opened {
                Opened::Message(client, length) => self.unsealed_packet(client, &room[..length]),
                Opened::Established(displaced) => {
                    if let Some(displaced) = displaced {
                        self.close_dtls(displaced, Parting::Displaced);
                    }
                    self.name_dtls_server(link);
                }
                Opened::Close(parting) => {
                    self.close_dtls(link, parting);
                    genuine = true;
                    break;
                }
                Opened::Nothing => break,
            }
            genuine = true;
        }
        self.plain_text = room;
        genuine
    }

    /// Tells which server a client of DTLS has asked for.
    fn name_dtls_server(&mut self, link: Link) {
        let heeded = self.dtls.as_ref().filter(|_| self.server.heeds_server_names());
        if let Some(name) = heeded.and_then(|dtls| dtls.server_name(link)) {
            self.server.handle_server_name(link, name);
        }
    }

    /// A message by itself: one record holds one (RFC 7350 §4.1).
    fn unsealed_packet(&mut self, client: Client, bytes: &[u8]) {
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
        let verdict = server.handle_client_packet(self.now, client, bytes);
        let control = !matches!(verdict, Verdict::Forward(_) | Verdict::Drop(_));
        let mut ways = Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() };
        ways.queue(&verdict, Payload::Unsealed(bytes));
        if control {
            self.carry_out_effects();
        }
    }

    /// Queues what the exchange holds.
    fn send_dtls(&mut self, carrier: &Client) {
        let Some(mut dtls) = self.dtls.take() else { return };
        for datagram in dtls.exchange().datagrams() {
            self.make_room_to_send();
            queue_datagram(&mut self.egress, &self.links, carrier, datagram);
        }
        dtls.exchange().clear();
        self.dtls = Some(dtls);
    }

    fn close_dtls(&mut self, link: Link, parting: Parting) {
        let closed = self.dtls.as_mut().and_then(|dtls| dtls.close(link, parting));
        if let Some((client, carrier)) = closed {
            self.send_dtls(&carrier);
            self.server.handle_link_closed(self.now, client);
        }
    }

    /// Ends every association, saying goodbye.
    pub(crate) fn close_all_dtls(&mut self) {
        for link in self.dtls.as_ref().map(|dtls| dtls.links()).unwrap_or_default() {
            self.close_dtls(link, Parting::Goodbye);
        }
    }

    /// Repeats flights, closes what has been silent for too long, and begins with some who wait.
    pub(super) fn finish_dtls_turn(&mut self) {
        let now = self.now.monotonic;
        while let Some(dtls) = &mut self.dtls
            && let Some(link) = dtls.pop_due(now)
        {
            let tuple = dtls.tuple(link);
            let is_used = tuple.is_some_and(|tuple| self.server.is_allocated(&tuple));
            let parting = dtls.handle_timeout(now, link, is_used);
            if let Some(carrier) = dtls.carrier(link) {
                self.send_dtls(&carrier);
            }
            if let Some(parting) = parting {
                self.close_dtls(link, parting);
            }
        }
        while let Some(dtls) = &mut self.dtls
            && let Some(carrier) = dtls.begin_waiting(now)
        {
            self.send_dtls(&carrier);
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.end_turn(now);
        }
    }

    pub(crate) fn dtls_counters(&self) -> DtlsCounters {
        self.dtls.as_ref().map(|dtls| dtls.counters()).unwrap_or_default()
    }
}
