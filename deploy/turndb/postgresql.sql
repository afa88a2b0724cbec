-- The tables of a PostgreSQL user database: psql DATABASE -f postgresql.sql
-- The names and columns are coturn's; turnpike_user_key is ours.

CREATE TABLE IF NOT EXISTS turnusers_lt (
    realm   varchar(127) NOT NULL DEFAULT '',
    name    varchar(512) NOT NULL,
    hmackey char(128),
    PRIMARY KEY (realm, name)
);

CREATE TABLE IF NOT EXISTS turn_secret (
    realm varchar(127) NOT NULL DEFAULT '',
    value varchar(256) NOT NULL,
    PRIMARY KEY (realm, value)
);

CREATE TABLE IF NOT EXISTS allowed_peer_ip (
    realm    varchar(127) NOT NULL DEFAULT '',
    ip_range varchar(256) NOT NULL,
    PRIMARY KEY (realm, ip_range)
);

CREATE TABLE IF NOT EXISTS denied_peer_ip (
    realm    varchar(127) NOT NULL DEFAULT '',
    ip_range varchar(256) NOT NULL,
    PRIMARY KEY (realm, ip_range)
);

CREATE TABLE IF NOT EXISTS turn_origin_to_realm (
    origin varchar(127) NOT NULL,
    realm  varchar(127) NOT NULL,
    PRIMARY KEY (origin)
);

CREATE TABLE IF NOT EXISTS turn_realm_option (
    realm varchar(127) NOT NULL DEFAULT '',
    opt   varchar(32) NOT NULL,
    value varchar(128) NOT NULL,
    PRIMARY KEY (realm, opt)
);

CREATE TABLE IF NOT EXISTS oauth_key (
    kid       varchar(128) NOT NULL,
    ikm_key   varchar(256) NOT NULL,
    timestamp bigint NOT NULL DEFAULT 0,
    lifetime  integer NOT NULL DEFAULT 0,
    as_rs_alg varchar(64) NOT NULL DEFAULT '',
    realm     varchar(127) NOT NULL DEFAULT '',
    PRIMARY KEY (kid)
);

CREATE TABLE IF NOT EXISTS admin_user (
    name     varchar(32) NOT NULL,
    realm    varchar(127),
    password varchar(127),
    PRIMARY KEY (name)
);

-- SHA-256 keys (RFC 8489), each with the hmackey of the same password: it counts only while that one is in force.
CREATE TABLE IF NOT EXISTS turnpike_user_key (
    realm     varchar(127) NOT NULL DEFAULT '',
    name      varchar(512) NOT NULL,
    hmackey   char(32) NOT NULL,
    sha256key char(64) NOT NULL,
    PRIMARY KEY (realm, name)
);
