//! The web origin a session belongs to (ORIGIN, an attribute of coturn and its clients), with `check-origin-consistency`:
//! whatever a session asks must bear the ORIGIN of the Allocate that made it, or bear none as that did.
//!
//! Invariant: an origin is kept only of a request that was authenticated, together with the allocation it made. coturn
//! pinned the first that came, so that a stranger could shut the owner out (#1871).

use std::sync::Arc;

use turnpike_wire::ErrorNumber;
use turnpike_wire::attributes::Origin;

use crate::allocation::Allocation;
use crate::reason::Reason;
use crate::requests::{Refused, Request, refused};
use crate::server::Server;

/// The origin of an allocation: empty if its Allocate had none; `None` if origins were not heeded when it was made.
pub(crate) type PinnedOrigin = Option<Arc<[u8]>>;

impl Server {
    /// What an allocation made by this request is to remember.
    pub(crate) fn origin_to_pin(&self, request: &Request<'_>) -> Result<PinnedOrigin, Refused> {
        if !self.config.check_origin {
            return Ok(None);
        }
        origin(request).map(|origin| Some(origin.into()))
    }

    /// Refuses a request with another origin than the allocation's.
    pub(crate) fn check_origin(&self, request: &Request<'_>, allocation: &Allocation) -> Result<(), Refused> {
        let Some(pinned) = allocation.origin.as_deref().filter(|_| self.config.check_origin) else {
            return Ok(());
        };
        match origin(request)? == pinned {
            true => Ok(()),
            false => Err(refused(ErrorNumber::WRONG_CREDENTIALS, Reason::OriginMismatch)),
        }
    }
}

/// A request's ORIGIN; empty for none.
fn origin<'m>(request: &Request<'m>) -> Result<&'m [u8], Refused> {
    let bad = refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest);
    let origin = request.message.get::<Origin<'_>>().map_err(|_| bad)?;
    Ok(origin.map_or(&[], |Origin(origin)| origin))
}
