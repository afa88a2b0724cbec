//! Where the log and the records of sessions go.

use turnpike_config::{DatabaseKind, LogFormat, Notice, Severity};

use crate::world::{refusal, run};

#[test]
fn the_log_has_a_form_a_place_and_a_size() {
    let log =
        run("-n --no-auth --log-format=JSON -l t.log --log-rotate-size=100M --log-rotate-keep=0").unwrap();
    let log = log.config.log;
    assert_eq!((log.format, log.rotate_size, log.rotate_keep), (LogFormat::Json, Some(100 << 20), 0));
    for (size, bytes) in [("8k", 8192), ("1G", 1 << 30), ("4096", 4096)] {
        let log = run(&format!("-n --no-auth -l t.log --log-rotate-size={size}")).unwrap().config.log;
        assert_eq!(log.rotate_size, Some(bytes));
    }
    assert_eq!(run("-n --no-auth --log-rotate-size=0").unwrap().config.log.rotate_size, None);
    assert!(refusal("-n --no-auth --log-rotate-size=8X").contains("not a number of bytes"));
    assert!(refusal("-n --no-auth --log-rotate-size=99999999999G").contains("not a number of bytes"));
    assert!(refusal("-n --no-auth --log-format=xml").contains("none of coturn, json, logfmt"));
}

#[test]
fn syslog_is_chosen_by_either_option_and_takes_every_facility_of_coturns() {
    for line in ["-n --no-auth --syslog", "-n --no-auth --log-file syslog"] {
        let log = run(line).unwrap().config.log;
        assert!(log.syslog && log.file.is_none() && log.syslog_facility == "user", "{line}");
    }
    let log =
        run("-n --no-auth --syslog --syslog-facility=LOG_LOCAL3 --syslog-socket=/x").unwrap().config.log;
    assert_eq!((log.syslog_facility, log.syslog_socket.to_str()), ("local3", Some("/x")));
    assert!(refusal("-n --no-auth --syslog --syslog-facility=local8").contains("LOG_LOCAL7"));
}

#[test]
fn what_has_nothing_to_work_on_is_warned_of() {
    for (line, option) in [
        ("--syslog -l t.log", "log-file"),
        ("--syslog-facility=LOG_USER", "syslog-facility"),
        ("--log-rotate-size=1M", "log-rotate-size"),
        ("-l t.log --log-rotate-keep=3", "log-rotate-keep"),
        ("--session-record-webhook-token-file=t", "session-record-webhook-token-file"),
    ] {
        let loaded = run(&format!("-n --no-auth {line}")).unwrap();
        let warned = |notice: &&Notice| {
            let said = format!("{} {}", notice.origin, notice.text);
            notice.severity == Severity::Warning && said.contains(option) && said.contains("has no effect")
        };
        assert_eq!(loaded.notices.iter().filter(warned).count(), 1, "{line}: {:?}", loaded.notices);
    }
}

#[test]
fn records_go_to_databases_that_speak_sql_and_no_connection_is_shown() {
    let of = |value: &str| {
        let line = format!("-n --no-auth --session-record-database={value}");
        run(&line).unwrap().config.records.database.unwrap()
    };
    for (value, kind, connection) in [
        ("sqlite:/var/lib/records.db", DatabaseKind::Sqlite, "/var/lib/records.db"),
        ("postgresql:host=db", DatabaseKind::Postgres, "host=db"),
        ("postgresql://u:p@db/t", DatabaseKind::Postgres, "postgresql://u:p@db/t"),
        ("mysql:host=db", DatabaseKind::Mysql, "host=db"),
    ] {
        let database = of(value);
        assert_eq!((database.kind, database.connection.expose()), (kind, connection));
        assert!(!format!("{database:?}").contains("db/t") && format!("{database:?}").contains("[redacted]"));
    }
    let other = refusal("-n --no-auth --session-record-database=redis:ip=1.2.3.4");
    assert!(other.contains("none of sqlite:, postgresql:, mysql:"), "{other}");
    assert!(refusal("-n --no-auth --session-record-database=sqlite:").contains("not which one"));
    let url = refusal("-n --no-auth --session-record-webhook=ftp://secret@x/");
    assert!(url.contains("neither http:// nor https://") && !url.contains("secret"), "{url}");
}
