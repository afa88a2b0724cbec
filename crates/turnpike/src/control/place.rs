//! Where the control socket is, when nobody says otherwise.

use std::env;
use std::path::{Path, PathBuf};

use crate::state::StateDirectory;

/// Where a server puts its socket: in the runtime directory that its unit gives it, else in a directory of its own among
/// those of the system (root) or of its user's login. `None` where there is no such place.
pub(crate) fn usual_place() -> Option<PathBuf> {
    // systemd's, of RuntimeDirectory=; the first of several.
    if let Some(given) = variable("RUNTIME_DIRECTORY") {
        let first = given.to_string_lossy().split(':').next().map(PathBuf::from);
        return first.filter(|path| path.is_absolute()).map(|path| path.join(NAME));
    }
    if rustix::process::geteuid().is_root() {
        return Some(Path::new(OF_ROOT).join(NAME));
    }
    Some(variable("XDG_RUNTIME_DIR")?.join("turnpike").join(NAME))
}

/// Where a tool looks for a server's socket, in this order.
pub(crate) fn places_to_look() -> Vec<PathBuf> {
    if let Some(named) = variable("TURNPIKE_CONTROL_SOCKET") {
        return vec![named];
    }
    let of_login = variable("XDG_RUNTIME_DIR").map(|path| path.join("turnpike"));
    let of_units = [OF_ROOT, "/run/turnserver"].map(PathBuf::from);
    let of_up = StateDirectory::default_path();
    of_units.into_iter().chain(of_login).chain([of_up]).map(|path| path.join(NAME)).collect()
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// What the socket is called, wherever it is.
pub(crate) const NAME: &str = "control.sock";
const OF_ROOT: &str = "/run/turnpike";
