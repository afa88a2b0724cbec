//! Keeping the program up with the machine while it runs: when a route, a neighbour or an interface changes, nothing that
//! was kept from before is used any longer, and the tables of interfaces are written anew.
//!
//! Whether news come or not, the program asks for each route again after a second.

use std::collections::HashSet;
use std::io;

use aya::maps::{Array, MapData};

use crate::changes::{Changed, Changes};
use crate::error::Unavailable;
use crate::layout::{Settings, SettingsValue};
use crate::links::Links;
use crate::surroundings::{Carried, InterfaceTables, Surroundings};

/// Hears of changes and tells the program.
#[derive(Debug)]
pub struct Watcher {
    changes: Changes,
    surroundings: Surroundings,
    settings: Settings,
    tables: Tables,
    written: Carried,
    /// Interfaces of which it was said that they came too late.
    missed: HashSet<u32>,
}

struct Tables {
    settings: Array<MapData, SettingsValue>,
    interfaces: InterfaceTables,
}

impl Watcher {
    pub(crate) fn open(
        surroundings: Surroundings,
        settings: Settings,
        (table, interfaces): (Array<MapData, SettingsValue>, InterfaceTables),
    ) -> Result<Self, Unavailable> {
        let changes = Changes::open().map_err(|error| Unavailable::refused("hearing of changes", &error))?;
        let tables = Tables { settings: table, interfaces };
        let mut watcher = Watcher {
            changes,
            surroundings,
            settings,
            tables,
            written: Carried::default(),
            missed: HashSet::new(),
        };
        // What has changed since it was read at start.
        watcher.apply(Changed { routes: true, links: true })?;
        Ok(watcher)
    }

    /// Waits for a change, and tells the program. Returns the names of interfaces whose packets are left to the server
    /// because they came after its start, each once.
    ///
    /// Whoever calls it again at once does as much work as there are changes: a pause between bounds that.
    ///
    /// # Errors
    /// There will be no more news, or the tables cannot be written.
    pub fn wait(&mut self) -> Result<Vec<String>, Unavailable> {
        let changed = self.changes.wait();
        let changed = changed.map_err(|error| Unavailable::refused("hearing of changes", &error))?;
        self.apply(changed)
    }

    fn apply(&mut self, changed: Changed) -> Result<Vec<String>, Unavailable> {
        let mut late = Vec::new();
        if changed.links {
            let links = Links::read().map_err(|error| reading(&error))?;
            let (interfaces, vlans) = &mut self.tables.interfaces;
            self.surroundings.carried(&links).write(&mut self.written, interfaces, vlans)?;
            let missed = links.iter().filter(|link| self.surroundings.misses(link, &links));
            let missed: Vec<_> = missed.map(|link| (link.index, link.name.clone())).collect();
            let known = std::mem::replace(&mut self.missed, missed.iter().map(|(index, _)| *index).collect());
            late.extend(missed.into_iter().filter(|(index, _)| !known.contains(index)).map(|(_, name)| name));
        }
        // After the tables of interfaces, from which routes are made.
        if changed.routes {
            self.settings.generation = self.settings.generation.wrapping_add(1);
            let written = self.tables.settings.set(0, self.settings.value(), 0);
            written.map_err(crate::program::writing)?;
        }
        Ok(late)
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tables").finish_non_exhaustive()
    }
}

fn reading(error: &io::Error) -> Unavailable {
    Unavailable::refused("reading the list of interfaces", error)
}
