//! Rows into a file.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use turnpike_store::{Kind, PAGE_ROWS, Row, Store};

use super::fields::{columns, kind_name, values};
use super::{Format, records};
use crate::progress::Progress;

/// Writes the rows of a kind, or of all; for its owner alone, since they hold keys. A file appears whole or not at all.
pub(in super::super) async fn export(
    store: &dyn Store,
    path: &str,
    format: Format,
    kind: Option<Kind>,
    realm: Option<&str>,
) -> anyhow::Result<()> {
    let kinds = match (kind, format) {
        (Some(kind), _) => vec![kind],
        (None, Format::Csv) => vec![Kind::User],
        (None, Format::JsonLines) => Kind::ALL.to_vec(),
    };
    let total = if realm.is_none() { Some(store.counts().await?) } else { None };
    let total = total.map(|counts| kinds.iter().map(|kind| counts.of(*kind)).sum());
    let mut sink = Sink::open(path)?;
    let mut export = Export { store, format, progress: Progress::new("exported", total), corrupt: 0 };
    let written = export.write(&mut sink, &kinds, realm).await;
    let Export { progress, corrupt, .. } = export;
    let done = progress.finish();
    written?;
    sink.close().with_context(|| format!("writing {path}"))?;
    if corrupt > 0 {
        bail!("{corrupt} of the rows make no sense and were left out; {done} were exported");
    }
    Ok(())
}

struct Export<'a> {
    store: &'a dyn Store,
    format: Format,
    progress: Progress,
    corrupt: u64,
}

impl Export<'_> {
    async fn write(&mut self, sink: &mut Sink, kinds: &[Kind], realm: Option<&str>) -> anyhow::Result<()> {
        if self.format == Format::Csv {
            writeln!(sink.writer, "{}", records::join(columns(kinds[0])))?;
        }
        for kind in kinds {
            let mut cursor = None;
            loop {
                let page = self.store.list(*kind, realm, cursor.as_ref(), PAGE_ROWS).await?;
                for row in &page.rows {
                    writeln!(sink.writer, "{}", line(row, self.format))?;
                }
                for error in &page.corrupt {
                    self.corrupt += 1;
                    self.progress.say(&format!("{error}"));
                }
                self.progress.advance(page.rows.len() as u64);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn line(row: &Row, format: Format) -> String {
    let values = values(row);
    match format {
        Format::Csv => records::join(&values),
        Format::JsonLines => {
            let mut object = Map::new();
            object.insert("kind".into(), kind_name(row.kind()).into());
            for (name, value) in columns(row.kind()).iter().zip(values) {
                if *name != "sha256key" || !value.is_empty() {
                    object.insert((*name).into(), value.into());
                }
            }
            Value::Object(object).to_string()
        }
    }
}

/// A file in the making, or standard output.
struct Sink {
    writer: BufWriter<Box<dyn Write>>,
    /// What it is called now, and in the end.
    names: Option<(PathBuf, PathBuf)>,
}

impl Sink {
    fn open(path: &str) -> anyhow::Result<Self> {
        if path == "-" {
            return Ok(Sink { writer: BufWriter::new(Box::new(io::stdout())), names: None });
        }
        let target = PathBuf::from(path);
        // What is no file, such as a pipe or a terminal, is written to as it is.
        if fs::metadata(&target).is_ok_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(&target);
            let file = file.with_context(|| format!("cannot write to {path}"))?;
            return Ok(Sink { writer: BufWriter::new(Box::new(file)), names: None });
        }
        let unfinished = PathBuf::from(format!("{path}.{}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = file.with_context(|| format!("cannot make {}", unfinished.display()))?;
        Ok(Sink { writer: BufWriter::new(Box::new(file)), names: Some((unfinished, target)) })
    }

    fn close(mut self) -> io::Result<()> {
        self.writer.flush()?;
        if let Some((unfinished, target)) = self.names.take() {
            let finished = OpenOptions::new().write(true).open(&unfinished).and_then(|file| file.sync_all());
            finished.and_then(|()| fs::rename(&unfinished, &target)).inspect_err(|_| remove(&unfinished))?;
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.names {
            remove(unfinished);
        }
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}
