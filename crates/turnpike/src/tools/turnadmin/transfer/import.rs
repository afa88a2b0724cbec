//! Rows out of a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use anyhow::{Context, bail};
use serde_json::Value;
use turnpike_store::{Kind, PAGE_ROWS, Row, Store, StoreError};

use super::fields::{self, kind_of_name};
use super::records::{Record, Records, split};
use super::{Format, kind_name};
use crate::progress::Progress;

/// Reads rows and stores them, a page at a time; a row that is there is replaced, so that a second run changes nothing.
/// A record that is wrong is told and left out; what the others say is stored.
pub(in super::super) async fn import(
    store: &dyn Store,
    path: &str,
    format: Format,
    kind: Option<Kind>,
) -> anyhow::Result<()> {
    let source: Box<dyn BufRead> = match path {
        "-" => Box::new(BufReader::new(io::stdin())),
        path => Box::new(BufReader::new(File::open(path).with_context(|| format!("cannot open {path}"))?)),
    };
    let mut reader = Reader { records: Records::new(source, format), format, kind, header: Vec::new() };
    if format == Format::Csv {
        reader.read_header().with_context(|| format!("reading {path}"))?;
    }
    let mut import = Import { store, batch: Vec::new(), progress: Progress::new("imported", None), wrong: 0 };
    let result = import.run(&mut reader, path).await;
    let Import { progress, wrong, .. } = import;
    let done = progress.finish();
    result.with_context(|| format!("{done} rows are stored; the same import may be run again"))?;
    if wrong > 0 {
        bail!("{wrong} rows were refused, {done} are stored");
    }
    Ok(())
}

struct Import<'a> {
    store: &'a dyn Store,
    /// Rows to come, with their lines.
    batch: Vec<(u64, Row)>,
    progress: Progress,
    wrong: u64,
}

impl Import<'_> {
    async fn run<R: BufRead>(&mut self, reader: &mut Reader<R>, path: &str) -> anyhow::Result<()> {
        while let Some(record) = reader.records.next().with_context(|| format!("reading {path}"))? {
            match reader.row(&record) {
                Ok(row) => self.batch.push((record.line, row)),
                Err(why) => self.refuse(record.line, &why),
            }
            if self.batch.len() >= PAGE_ROWS {
                self.store().await?;
            }
        }
        self.store().await
    }

    async fn store(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let (lines, rows): (Vec<u64>, Vec<Row>) = batch.into_iter().unzip();
        if rows.is_empty() {
            return Ok(());
        }
        match self.store.put(&rows).await {
            Ok(()) => self.progress.advance(rows.len() as u64),
            // One of them cannot be stored: find it, and keep the others.
            Err(error) if is_about_a_row(&error) => {
                for (line, row) in lines.into_iter().zip(rows) {
                    match self.store.put(&[row]).await {
                        Ok(()) => self.progress.advance(1),
                        Err(error) if is_about_a_row(&error) => self.refuse(line, &error.to_string()),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, why: &str) {
        self.wrong += 1;
        if self.wrong <= TOLD {
            self.progress.say(&format!("line {line}: {why}"));
        } else if self.wrong == TOLD + 1 {
            self.progress.say("more lines are wrong; they are counted");
        }
    }
}

/// Whether an error is one row's, not the whole store's.
fn is_about_a_row(error: &StoreError) -> bool {
    use turnpike_store::ErrorKind::{Invalid, TooLong};
    matches!(error.kind(), TooLong | Invalid)
}

struct Reader<R> {
    records: Records<R>,
    format: Format,
    kind: Option<Kind>,
    /// The names of a CSV file's columns.
    header: Vec<String>,
}

impl<R: BufRead> Reader<R> {
    fn read_header(&mut self) -> anyhow::Result<()> {
        let Some(record) = self.records.next()? else {
            bail!("the file is empty: a line of names comes first")
        };
        let names = record.text.and_then(|text| split(&text)).map_err(anyhow::Error::msg)?;
        let kind = self.kind.unwrap_or(Kind::User);
        let mut known = fields::columns(kind).to_vec();
        if kind == Kind::User {
            known.push("password");
        }
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.trim())) {
            bail!(
                "the first line names the columns of a {}: {}; there is no {unknown:?}",
                kind_name(kind),
                known.join(", ")
            );
        }
        self.header = names.into_iter().map(|name| name.trim().to_owned()).collect();
        Ok(())
    }

    fn row(&self, record: &Record) -> Result<Row, String> {
        let text = record.text.as_deref().map_err(|why| (*why).to_owned())?;
        match self.format {
            Format::Csv => {
                let values = split(text)?;
                if values.len() != self.header.len() {
                    return Err(format!("{} values, but {} names", values.len(), self.header.len()));
                }
                let at = |name: &str| self.header.iter().position(|known| known == name);
                fields::row(self.kind.unwrap_or(Kind::User), |name| at(name).map(|at| values[at].as_str()))
            }
            Format::JsonLines => self.json_row(text),
        }
    }

    fn json_row(&self, text: &str) -> Result<Row, String> {
        // What serde_json says may quote a secret.
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return Err("it is no JSON object".to_owned());
        };
        let kind = match (object.get("kind"), self.kind) {
            (None, Some(kind)) => kind,
            (None, None) => return Err("kind is missing".to_owned()),
            (Some(name), wanted) => {
                let kind = name.as_str().and_then(kind_of_name);
                let kind = kind.ok_or_else(|| format!("kind: there is no kind {name}"))?;
                if wanted.is_some_and(|wanted| wanted != kind) {
                    return Err(format!("it is a {}, not the kind asked for", kind_name(kind)));
                }
                kind
            }
        };
        let mut values = std::collections::BTreeMap::new();
        for (name, value) in object {
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Null => continue,
                _ => return Err(format!("{name} is no text")),
            };
            values.insert(name, text);
        }
        let known = fields::columns(kind);
        let extra = |name: &&String| {
            !(known.contains(&name.as_str()) || *name == "kind" || kind == Kind::User && *name == "password")
        };
        if let Some(name) = values.keys().find(extra) {
            return Err(format!("a {} has no {name:?}", kind_name(kind)));
        }
        fields::row(kind, |name| values.get(name).map(String::as_str))
    }
}

/// So many wrong lines are told one by one.
const TOLD: u64 = 20;
