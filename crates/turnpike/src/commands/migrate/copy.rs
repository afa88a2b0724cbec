//! Copies all rows of one database into another.
//!
//! What is there already is looked at first and not written again: so a copy that was interrupted goes on where it was,
//! and a second one writes nothing. A page is stored whole or not at all, where the database has transactions; where it
//! has none, a row is. In the end both sides are read and compared.

use anyhow::Result;
use turnpike_store::{Counts, ErrorKind, Kind, PAGE_ROWS, Row, Store};

use super::digests::{Digester, Digests, Standing};
use super::patience::patiently;
use super::verification;
use crate::progress::Progress;
use crate::terminal::say;
use crate::tools::turnadmin::kind_name;

/// Copies, verifies, says so, and returns whether the destination has everything now.
pub(super) async fn copy(source: &dyn Store, destination: &dyn Store, dry_run: bool) -> Result<bool> {
    let counts = patiently(async || source.counts().await).await?;
    let there = patiently(async || destination.counts().await).await?;
    let keeps_sha256 = patiently(async || destination.keeps_sha256_keys().await).await?;
    let digester = Digester::new(keeps_sha256)?;
    say!("from {} {}", source.kind().name(), source.address());
    say!("to   {} {}", destination.kind().name(), destination.address());
    if !keeps_sha256 {
        say!(
            "note: the destination has no table turnpike_user_key, so users keep their MD5 keys alone; make it with \
             deploy/turndb/{} first to keep both",
            destination.kind().schema_file()
        );
    }
    let total = Kind::ALL.into_iter().map(|kind| counts.of(kind)).sum();
    let what = if dry_run { "compared" } else { "copied" };
    let progress = Progress::new(what, Some(total));
    let mut copy = Copy { source, destination, digester, dry_run, progress, tally: Tally::default() };
    let copied = copy.run(&there).await;
    let Copy { digester, progress, tally, .. } = copy;
    progress.finish();
    copied?;
    let Tally { new, replaced, same, refused } = tally;
    let (would, was) = if dry_run { ("would be ", "would be") } else { ("", "were") };
    say!(
        "{new} rows {was} new, {replaced} {would}replaced because they differed, {same} {was} there already, {refused} \
         {was} refused"
    );
    if dry_run {
        return Ok(refused == 0);
    }
    let verified = verification::verify(source, destination, &digester).await?;
    Ok(verified && refused == 0)
}

struct Copy<'a> {
    source: &'a dyn Store,
    destination: &'a dyn Store,
    digester: Digester,
    dry_run: bool,
    progress: Progress,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    new: u64,
    replaced: u64,
    same: u64,
    refused: u64,
}

impl Copy<'_> {
    async fn run(&mut self, there: &Counts) -> Result<()> {
        for kind in Kind::ALL {
            let known = match there.of(kind) {
                0 => Digests::default(),
                _ => verification::digests(self.destination, kind, &self.digester).await?,
            };
            self.kind(kind, &known).await?;
        }
        Ok(())
    }

    async fn kind(&mut self, kind: Kind, known: &Digests) -> Result<()> {
        let mut cursor = None;
        loop {
            let (source, after) = (self.source, cursor.as_ref());
            let page = patiently(async || source.list(kind, None, after, PAGE_ROWS).await).await?;
            for error in &page.corrupt {
                self.refuse(&format!("{}: {error}", kind_name(kind)));
            }
            let rows = page.rows.len() as u64;
            let to_store: Vec<Row> = page.rows.into_iter().filter(|row| self.is_wanted(known, row)).collect();
            self.store(to_store).await?;
            self.progress.advance(rows);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    fn is_wanted(&mut self, known: &Digests, row: &Row) -> bool {
        // A limit of zero limits nothing, and is not kept everywhere.
        if matches!(row, Row::RealmLimit { value: 0, .. }) {
            return false;
        }
        let standing = known.standing(&self.digester, row);
        match standing {
            Standing::Absent => self.tally.new += 1,
            Standing::Different => self.tally.replaced += 1,
            Standing::Same => self.tally.same += 1,
        }
        standing != Standing::Same
    }

    async fn store(&mut self, rows: Vec<Row>) -> Result<()> {
        if rows.is_empty() || self.dry_run {
            return Ok(());
        }
        let destination = self.destination;
        match patiently(async || destination.put(&rows).await).await {
            Err(error) if is_about_a_row(error.kind()) => {}
            stored => return Ok(stored?),
        }
        // One of them cannot be stored: find it, and keep the others.
        for row in rows {
            let row = [row];
            match patiently(async || destination.put(&row).await).await {
                Err(error) if is_about_a_row(error.kind()) => self.refuse(&format!("{:?}: {error}", row[0])),
                stored => stored?,
            }
        }
        Ok(())
    }

    fn refuse(&mut self, why: &str) {
        self.tally.refused += 1;
        if self.tally.refused <= TOLD {
            self.progress.say(why);
        } else if self.tally.refused == TOLD + 1 {
            self.progress.say("more rows are refused; they are counted");
        }
    }
}

fn is_about_a_row(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::TooLong | ErrorKind::Invalid)
}

/// So many refused rows are told one by one.
const TOLD: u64 = 20;
