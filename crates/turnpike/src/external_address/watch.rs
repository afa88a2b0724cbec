//! The external address at start and from then on: what was found is told in the log, and what has changed is what new
//! allocations are told. A look that finds nothing changes nothing: a metadata service may be down for a while.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use turnpike_config::Config;
use turnpike_control::Log;

use super::{Judgement, Source, Survey, Trouble};
use crate::addresses::Addresses;
use crate::operations::Operations;

/// The first look, before anything is bound: bounded in time, whoever hangs.
///
/// # Errors
/// A configured address is not of this machine.
pub(crate) fn survey_at_start(config: &Config, log: &Log) -> anyhow::Result<Survey> {
    if !config.discovery.wanted {
        return Ok(Survey::default());
    }
    let addresses = Addresses::find(config)?;
    let survey = Survey::make(config, &addresses);
    if survey.subjects.is_empty() {
        log.info("External address: nobody was asked: none is private without one given");
    }
    tell(&survey, config, log);
    Ok(survey)
}

/// Says what was found, and what is odd about it.
fn tell(survey: &Survey, config: &Config, log: &Log) {
    for judgement in &survey.judgements {
        match judgement.told {
            Some(_) => log.info(&format!("External address: {}", judgement.sentence())),
            None => log.warning(&format!(
                "External address: {}: clients are told the private address. {}",
                judgement.sentence(),
                whom_to_ask(survey, config)
            )),
        }
        judgement.oddities().iter().for_each(|odd| log.warning(&format!("External address: {odd}")));
    }
    // One cloud's service has no words for what is asked of another's.
    let one_has_told = survey.sightings.iter().any(|it| matches!(it.source, Source::Metadata(_)));
    for (source, trouble) in
        survey.silent.iter().filter(|(source, trouble)| is_worth_telling(source, trouble, one_has_told))
    {
        log.info(&format!("External address: {} was asked: {trouble}", source.name()));
    }
}

/// What to do when nobody knew.
pub(crate) fn whom_to_ask(survey: &Survey, config: &Config) -> &'static str {
    let hangs = survey
        .silent
        .iter()
        .any(|(source, trouble)| matches!(source, Source::Metadata(_)) && *trouble == Trouble::Silent);
    match config.discovery.stun_servers.is_empty() {
        true if hangs => {
            "The metadata service did not answer; in a container on AWS allow it a second hop (aws ec2 \
             modify-instance-metadata-options --http-put-response-hop-limit 2). Else give external-ip=PUBLIC, or name a \
             STUN server by external-ip-stun"
        }
        true => "Give external-ip=PUBLIC, or name a STUN server by external-ip-stun",
        false => "Give external-ip=PUBLIC, or see whether UDP to the STUN servers is let through",
    }
}

/// That there is no service of six clouds says nothing about the seventh.
fn is_worth_telling(source: &Source, trouble: &Trouble, one_has_told: bool) -> bool {
    match source {
        Source::Metadata(_) => !one_has_told && !matches!(trouble, Trouble::Absent | Trouble::Silent),
        Source::Stun(_) => true,
    }
}

/// Looks again every so often, for as long as the server runs.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn watch(operations: &Arc<Operations>) -> io::Result<()> {
    let (wanted, period) =
        operations.rulebook.read(|parts| (parts.settings.discovery.wanted, parts.settings.discovery.period));
    if !wanted || period.is_zero() {
        return Ok(());
    }
    let operations = Arc::downgrade(operations);
    thread::Builder::new().name("external-ip".into()).spawn(move || {
        let mut last_oddities = Vec::new();
        let mut pause = period;
        loop {
            thread::sleep(pause);
            let Some(next) = look_again(&operations, &mut last_oddities) else { return };
            pause = next;
        }
    })?;
    Ok(())
}

/// One look; `None` once there is no server any more. Else how long until the next.
fn look_again(operations: &Weak<Operations>, last_oddities: &mut Vec<String>) -> Option<Duration> {
    // The survey takes seconds: the server may end meanwhile.
    let (settings, addresses) =
        operations.upgrade()?.rulebook.read(|parts| (parts.settings.clone(), parts.addresses.clone()));
    let period = settings.discovery.period.max(Duration::from_secs(1));
    // A configuration that was read again may have switched it off.
    if !settings.discovery.wanted {
        return Some(period);
    }
    let mut asked_about = addresses;
    // What was found out earlier is no answer to the question.
    for relay in &mut asked_about.relays {
        if asked_about.found.iter().any(|found| found.private == Some(relay.address)) {
            relay.external = None;
        }
    }
    let survey = Survey::make(&settings, &asked_about);
    let operations = operations.upgrade()?;
    let news: Vec<&Judgement> = survey.judgements.iter().filter(|it| is_new(it, &operations)).collect();
    for judgement in &news {
        let Some(told) = judgement.told else { continue };
        let before = operations.rulebook.change(|parts| parts.addresses.retell(judgement.private, told));
        if let Some(before) = before {
            operations.log.warning(&format!(
                "External address: it has changed from {before} to {told}: {}. New allocations are told {told}; existing \
                 ones keep {before}",
                judgement.sentence()
            ));
        }
    }
    let oddities: Vec<String> = survey.judgements.iter().flat_map(Judgement::oddities).collect();
    // Once is enough for what stays as it is.
    for odd in oddities.iter().filter(|odd| !last_oddities.contains(odd)) {
        operations.log.warning(&format!("External address: {odd}"));
    }
    *last_oddities = oddities;
    Some(period)
}

/// Whether clients are told something else so far.
fn is_new(judgement: &Judgement, operations: &Operations) -> bool {
    let Some(told) = judgement.told else { return false };
    let so_far = |address: IpAddr| {
        operations.rulebook.read(|parts| {
            let relay = parts.addresses.relays.iter().find(|relay| relay.address == address)?;
            Some(relay.advertised())
        })
    };
    so_far(judgement.private).is_some_and(|so_far| so_far != told)
}
