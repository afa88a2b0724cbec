//! One run: a seed becomes a world with inhabitants, and some thousand inputs later everything is to be as it
//! was at the beginning.

use std::collections::BTreeMap;

use crate::actors::{Actor, Attacker, Chaotic, Honest, Peers, Relaying, Rumours, SOURCES, Surroundings};
use crate::network::{Datagram, SECOND};
use crate::random::Random;
use crate::settings::ip;
use crate::sources::separate_sources;
use crate::trace::Trace;
use crate::world::{Happening, World};

/// What a run was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Equal for equal runs only.
    pub trace_hash: u64,
    /// Inputs the cores were given.
    pub inputs: u64,
    /// How often the cores reacted in which way.
    pub actions: BTreeMap<String, u64>,
    /// Virtual seconds that passed.
    pub seconds: u64,
}

/// Lives the life of one seed for about `inputs` inputs, and then lets time pass until nothing is left.
/// The error tells what contradicts the model.
pub fn run(seed: u64, inputs: u64, printed: bool) -> Result<Summary, String> {
    let mut simulation = Simulation::new(seed, printed);
    while simulation.world.inputs < inputs {
        simulation.step()?;
        if simulation.world.random.chance(10) {
            simulation.world.check()?;
        }
    }
    simulation.end()
}

struct Simulation {
    world: World,
    actors: Vec<Box<dyn Actor>>,
    rumours: Rumours,
    random: Random,
    pace: u64,
    /// Whether nobody does anything of his own accord any more.
    over: bool,
}

impl Simulation {
    fn new(seed: u64, printed: bool) -> Self {
        let mut random = Random::new(seed);
        let world = World::new(Random::new(random.next_u64()), Trace::new(printed));
        let candidates = SOURCES.map(ip);
        let sources = separate_sources(&candidates, &world.settings);
        let rumours = Rumours { sources, ..Rumours::default() };
        let mut simulation =
            Simulation { world, actors: Vec::new(), rumours, random, pace: SECOND, over: false };
        simulation.populate();
        simulation
    }

    fn populate(&mut self) {
        let honest = self.random.below(6);
        let chaotic = self.random.between(1, 8);
        let attackers = self.random.below(3);
        let relaying = if self.world.settings.moving { 0 } else { self.random.below(4) };
        let undamaged = self.world.faults.corruption == 0;
        let mut actors: Vec<Box<dyn Actor>> = vec![Box::new(Peers::default())];
        let ((), born) = self.surrounded(|surroundings| {
            for _ in 0..honest {
                actors.push(Box::new(Honest::new(surroundings, undamaged)));
            }
            for _ in 0..chaotic {
                actors.push(Box::new(Chaotic::new(surroundings)));
            }
            for _ in 0..relaying {
                actors.push(Box::new(Relaying::new(surroundings)));
            }
            for _ in 0..attackers {
                actors.push(Box::new(Attacker));
            }
        });
        born.expect("nobody has done anything yet");
        for actor in 0..actors.len() {
            self.world.schedule(self.random.below(SECOND), Happening::Wake(actor));
        }
        self.actors = actors;
        self.world.schedule(self.random.below(60 * SECOND), Happening::Reload);
        self.world.schedule(self.random.below(60 * SECOND), Happening::ClockStep);
        self.world.schedule(self.random.below(10 * SECOND), Happening::IcmpError);
        self.world.schedule(self.random.below(10 * SECOND), Happening::Connection);
    }

    fn step(&mut self) -> Result<bool, String> {
        let Some(happening) = self.world.next_happening()? else { return Ok(false) };
        match happening {
            Happening::Arrival(datagram) => self.arrive(&datagram)?,
            Happening::Segment(link, bytes) => {
                for message in self.world.segment(link, &bytes)? {
                    self.rumours.overhear(&message);
                }
            }
            Happening::Delivery(link, datagram) if self.world.is_connected(link) => {
                self.deliver(&datagram)?
            }
            Happening::Delivery(..) => {}
            Happening::Break(link) => self.world.break_connection(link)?,
            Happening::RelayOpened(worker, wait, opened) => self.world.relay_opened(worker, wait, opened)?,
            Happening::Release(port) => self.world.release(port),
            Happening::PeerConnected(worker, id, connected) => {
                self.world.peer_connected(worker, id, connected)?;
            }
            _ if self.over => {}
            Happening::Wake(actor) => self.wake(actor)?,
            Happening::Reload => {
                self.world.reload();
                let delay = self.random.below(400 * self.pace);
                self.world.schedule(delay, Happening::Reload);
            }
            Happening::Connection => {
                self.world.connection_happens()?;
                let delay = self.random.below(2 * self.pace);
                self.world.schedule(delay, Happening::Connection);
            }
            Happening::IcmpError => {
                self.world.peer_icmp()?;
                let delay = self.random.below(10 * self.pace);
                self.world.schedule(delay, Happening::IcmpError);
            }
            Happening::ClockStep => {
                self.world.step_clock();
                let delay = self.random.below(1000 * self.pace);
                self.world.schedule(delay, Happening::ClockStep);
            }
        }
        Ok(true)
    }

    fn wake(&mut self, index: usize) -> Result<(), String> {
        if self.random.chance(5) {
            // Times of hurry and times of leisure.
            self.pace =
                *self.random.pick(&[SECOND / 100, SECOND / 10, SECOND, SECOND, 10 * SECOND, 60 * SECOND]);
        }
        let mut actors = std::mem::take(&mut self.actors);
        let pause = self.surrounded(|surroundings| actors[index].wake(surroundings));
        self.actors = actors;
        let (pause, outcome) = pause;
        self.world.schedule(pause, Happening::Wake(index));
        outcome
    }

    fn arrive(&mut self, datagram: &Datagram) -> Result<(), String> {
        if self.world.is_listener(datagram.to) {
            self.rumours.overhear(datagram);
            return self.world.client_packet(datagram);
        }
        self.world.peer_packet(datagram)?;
        self.deliver(datagram)
    }

    /// Lets whoever a datagram is for have it.
    fn deliver(&mut self, datagram: &Datagram) -> Result<(), String> {
        if self.over {
            return Ok(());
        }
        let mut actors = std::mem::take(&mut self.actors);
        let (_, outcome) = self
            .surrounded(|surroundings| actors.iter_mut().any(|actor| actor.receive(surroundings, datagram)));
        self.actors = actors;
        outcome
    }

    /// Lets somebody act, sends what he sends, and passes on his complaints.
    fn surrounded<T>(&mut self, act: impl FnOnce(&mut Surroundings<'_>) -> T) -> (T, Result<(), String>) {
        let clocks = self.world.clocks();
        let mut surroundings = Surroundings {
            now: self.world.now,
            unix: clocks.unix.0,
            pace: self.pace,
            random: &mut self.random,
            rumours: &mut self.rumours,
            outbox: Vec::new(),
            complaints: Vec::new(),
        };
        let result = act(&mut surroundings);
        let Surroundings { outbox, mut complaints, .. } = surroundings;
        outbox.into_iter().for_each(|datagram| self.world.send(datagram));
        (result, complaints.pop().map_or(Ok(()), Err))
    }

    /// Everybody falls silent; what lives on expires, or the server stops.
    fn end(mut self) -> Result<Summary, String> {
        self.over = true;
        self.world.check()?;
        if self.random.chance(250) {
            self.world.shut_down()?;
        }
        while self.step()? {}
        self.world.check_end()?;
        Ok(Summary {
            trace_hash: self.world.trace.hash(),
            inputs: self.world.inputs,
            actions: self.world.actions,
            seconds: self.world.now / SECOND,
        })
    }
}
