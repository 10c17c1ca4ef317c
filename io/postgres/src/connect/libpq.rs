//! The settings of libpq: which are honoured, and which are refused by name.
//!
//! A setting that is left out in silence leads to another server than the one meant, or to less
//! protection than was asked for. The handbook has this list as a table (docs/database.md), and a
//! test reads each of its rows.

/// What is done with a setting.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    /// It is read, and honoured as libpq does.
    Value,
    /// Only what this program does anyway; the text says what that is.
    Only(&'static [&'static str], &'static str),
    /// It is refused; the text says why.
    Nothing(&'static str),
}

/// A setting of libpq.
#[derive(Debug)]
pub(super) struct Setting {
    /// The name in a URL, in `name=value` words and in a service file; empty if there is none.
    pub(super) name: &'static str,
    /// The variable, if there is one.
    pub(super) variable: &'static str,
    pub(super) takes: Takes,
}

const fn value(name: &'static str, variable: &'static str) -> Setting {
    Setting { name, variable, takes: Takes::Value }
}

const fn only(
    name: &'static str,
    variable: &'static str,
    values: &'static [&'static str],
    does: &'static str,
) -> Setting {
    Setting { name, variable, takes: Takes::Only(values, does) }
}

const fn nothing(name: &'static str, variable: &'static str, why: &'static str) -> Setting {
    Setting { name, variable, takes: Takes::Nothing(why) }
}

const NO_GSS: &str = "this program does not speak GSSAPI";
const NO_LISTS: &str = "lists of revoked certificates are not read";
const NO_OAUTH: &str = "this program does not sign on with OAuth";
const NO_SCRAM_KEYS: &str = "this program signs on with a password";
const NO_FORMATS: &str = "values are read in binary, in UTC";

/// All settings of libpq, up to PostgreSQL 18.
pub(super) const SETTINGS: &[Setting] = &[
    value("host", "PGHOST"),
    value("hostaddr", "PGHOSTADDR"),
    value("port", "PGPORT"),
    value("dbname", "PGDATABASE"),
    value("user", "PGUSER"),
    value("password", "PGPASSWORD"),
    value("passfile", "PGPASSFILE"),
    value("service", "PGSERVICE"),
    value("servicefile", "PGSERVICEFILE"),
    value("options", "PGOPTIONS"),
    value("application_name", "PGAPPNAME"),
    value("fallback_application_name", ""),
    value("connect_timeout", "PGCONNECT_TIMEOUT"),
    value("keepalives", ""),
    value("keepalives_idle", ""),
    value("keepalives_interval", ""),
    value("keepalives_count", ""),
    value("tcp_user_timeout", ""),
    value("target_session_attrs", "PGTARGETSESSIONATTRS"),
    value("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    value("sslmode", "PGSSLMODE"),
    value("sslrootcert", "PGSSLROOTCERT"),
    value("sslcert", "PGSSLCERT"),
    value("sslkey", "PGSSLKEY"),
    value("sslsni", "PGSSLSNI"),
    value("sslnegotiation", "PGSSLNEGOTIATION"),
    value("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    value("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    only(
        "sslcertmode",
        "PGSSLCERTMODE",
        &["allow"],
        "a certificate is sent where one is asked for",
    ),
    only("sslcompression", "PGSSLCOMPRESSION", &["0"], "nothing is compressed"),
    only(
        "channel_binding",
        "PGCHANNELBINDING",
        &["disable", "prefer"],
        "sign-on is not bound to the channel",
    ),
    only("gssencmode", "PGGSSENCMODE", &["disable", "prefer"], NO_GSS),
    only("client_encoding", "PGCLIENTENCODING", &["UTF8", "UTF-8", "utf8"], "text is in UTF-8"),
    only("replication", "", &["false", "off", "no", "0"], "no replication is begun"),
    only(
        "min_protocol_version",
        "PGMINPROTOCOLVERSION",
        &["3.0"],
        "version 3.0 of the protocol is spoken",
    ),
    only(
        "max_protocol_version",
        "PGMAXPROTOCOLVERSION",
        &["3.0", "latest"],
        "version 3.0 of the protocol is spoken",
    ),
    nothing("require_auth", "PGREQUIREAUTH", "the server chooses how to sign on"),
    nothing("requirepeer", "PGREQUIREPEER", "the owner of a socket is not looked at"),
    nothing("sslcrl", "PGSSLCRL", NO_LISTS),
    nothing("sslcrldir", "PGSSLCRLDIR", NO_LISTS),
    nothing("sslpassword", "", "a private key must not be encrypted"),
    nothing("sslkeylogfile", "", "keys of TLS are not written anywhere"),
    nothing("requiressl", "PGREQUIRESSL", "sslmode=require says the same"),
    nothing("krbsrvname", "PGKRBSRVNAME", NO_GSS),
    nothing("gsslib", "PGGSSLIB", NO_GSS),
    nothing("gssdelegation", "PGGSSDELEGATION", NO_GSS),
    nothing("scram_client_key", "", NO_SCRAM_KEYS),
    nothing("scram_server_key", "", NO_SCRAM_KEYS),
    nothing("oauth_issuer", "", NO_OAUTH),
    nothing("oauth_client_id", "", NO_OAUTH),
    nothing("oauth_client_secret", "", NO_OAUTH),
    nothing("oauth_scope", "", NO_OAUTH),
    nothing("", "PGDATESTYLE", NO_FORMATS),
    nothing("", "PGTZ", NO_FORMATS),
    nothing("", "PGGEQO", "options=-cgeqo=... says the same"),
];

/// The setting of a name.
pub(super) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| !setting.name.is_empty() && setting.name == name)
}
