-- One row for each session that ended (session-record-database). docs/session-records.md says what the columns mean.

CREATE TABLE IF NOT EXISTS turnpike_session_record (
    id             varchar(64) NOT NULL PRIMARY KEY,
    host           varchar(255) NOT NULL,
    session        varchar(18) NOT NULL,
    realm          varchar(128) NOT NULL,
    username       varchar(512) NOT NULL,
    account        varchar(512) NOT NULL,
    client         varchar(64) NOT NULL,
    server         varchar(64) NOT NULL,
    transport      varchar(8) NOT NULL,
    relayed        varchar(64) NOT NULL,
    started        varchar(24) NOT NULL,
    ended          varchar(24) NOT NULL,
    duration       bigint NOT NULL,
    reason         varchar(32) NOT NULL,
    path           varchar(8) NOT NULL,
    client_packets bigint NOT NULL,
    client_bytes   bigint NOT NULL,
    peer_packets   bigint NOT NULL,
    peer_bytes     bigint NOT NULL,
    kernel_packets bigint NOT NULL,
    kernel_bytes   bigint NOT NULL,
    INDEX turnpike_session_record_ended (ended)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
