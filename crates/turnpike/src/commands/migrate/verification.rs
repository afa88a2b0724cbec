//! Whether a destination has everything that its source has.

use turnpike_store::{Kind, PAGE_ROWS, Row, Store, StoreError};

use super::digests::{Digester, Digests};
use super::patience::patiently;
use crate::terminal::say;
use crate::tools::turnadmin::kind_name;

/// Reads both sides anew, prints counts and checksums of each kind, and returns whether they agree.
pub(super) async fn verify(
    source: &dyn Store,
    destination: &dyn Store,
    digester: &Digester,
) -> Result<bool, StoreError> {
    let (mut sound, mut rows, mut more) = (true, 0, 0);
    say!("{:<13} {:>10} {:>12}  checksum", "", "source", "destination");
    for kind in Kind::ALL {
        let theirs = digests(source, kind, digester).await?;
        let ours = digests(destination, kind, digester).await?;
        let (expected, found) = (theirs.checksum(), ours.checksum_of_shared(&theirs));
        let agree = expected == found;
        sound &= agree;
        rows += found.rows;
        more += ours.checksum().rows - found.rows;
        let sums = if agree {
            format!("{:016x}, the same", expected.sum >> 64)
        } else {
            format!("{:016x}, but {:016x} in the destination", expected.sum >> 64, found.sum >> 64)
        };
        say!("{:<13} {:>10} {:>12}  {sums}", kind_name(kind), expected.rows, found.rows);
    }
    if more > 0 {
        say!("{more} more rows are in the destination alone, and were left as they are");
    }
    if sound {
        say!("verified: {rows} rows are the same on both sides");
    } else {
        say!(
            "NOT the same: rows were refused, one side was changed meanwhile, or the destination takes different names \
             for one (MySQL without a binary collation). Run it again; it goes on where it is"
        );
    }
    Ok(sound)
}

/// The digests of all rows of a kind.
pub(super) async fn digests(
    store: &dyn Store,
    kind: Kind,
    digester: &Digester,
) -> Result<Digests, StoreError> {
    let (mut digests, mut cursor) = (Digests::default(), None);
    loop {
        let after = cursor.as_ref();
        let page = patiently(async || store.list(kind, None, after, PAGE_ROWS).await).await?;
        let limits_nothing = |row: &&Row| !matches!(row, Row::RealmLimit { value: 0, .. });
        page.rows.iter().filter(limits_nothing).for_each(|row| digests.add(digester, row));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(digests);
        }
    }
}
