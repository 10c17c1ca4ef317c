//! What the settings mean: the servers to try, as whom, and how.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::given::{Given, Variables};
use super::pgpass::{Wanted, password_in};
use super::service::home;
use super::tls::{Roots, TlsMode, TlsPlan, Version};
use super::{ConnectError, DEFAULT_CONNECT_TIMEOUT};

/// The name of the connections in `pg_stat_activity`.
const APPLICATION_NAME: &str = "reshare";

/// Where servers put their socket by default.
const DEFAULT_SOCKETS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// Everything that connecting needs.
///
/// # Secrecy
/// Holds passwords.
#[derive(Clone)]
pub(super) struct Plan {
    /// In the order in which they are tried; at least one.
    pub(super) targets: Vec<Target>,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) application_name: String,
    /// Parameters of the server, for the beginning of a session.
    pub(super) options: Vec<(String, String)>,
    pub(super) connect_timeout: Duration,
    pub(super) keepalive: Keepalive,
    pub(super) session: SessionKind,
    pub(super) tls: TlsPlan,
}

/// One server.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) port: u16,
    pub(super) password: Option<SecretString>,
    pub(super) tls: TlsMode,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The directory of its socket.
    Socket(PathBuf),
    /// A name, which is looked up and verified, or only verified if there is an address.
    Tcp { host: String, address: Option<IpAddr> },
}

/// When the other end counts as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keepalive {
    pub(super) enabled: bool,
    pub(super) idle: Duration,
    pub(super) interval: Duration,
    pub(super) count: u32,
    /// Zero leaves it to the operating system.
    pub(super) user_timeout: Duration,
}

impl Keepalive {
    /// How long the other end may be silent; `None` is for ever.
    pub(super) fn patience(self) -> Option<Duration> {
        self.enabled.then(|| self.idle.saturating_add(self.interval.saturating_mul(self.count)))
    }
}

/// Which kind of server is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionKind {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl Plan {
    /// Reads the settings.
    pub(super) fn of(given: &Given, variables: Variables<'_>) -> Result<Self, ConnectError> {
        let user = user(given)?;
        let database = given.nonempty("dbname").unwrap_or(&user).to_owned();
        let tls = tls_plan(given, variables)?;
        let mut targets = vec![];
        for (place, port) in places(given)? {
            let mode = tls_mode(given, &place, &tls)?;
            targets.push(Target { place, port, password: None, tls: mode });
        }
        let password_file = given.nonempty("passfile").map(PathBuf::from);
        let password_file = password_file.or_else(|| Some(home(variables)?.join(".pgpass")));
        for target in &mut targets {
            target.password = match given.nonempty("password") {
                Some(password) => Some(SecretString::from(password)),
                None => password_file
                    .as_deref()
                    .and_then(|file| password_of(file, target, &database, &user)),
            };
        }
        if given.word("load_balance_hosts", &[("disable", false), ("random", true)])? == Some(true)
        {
            shuffle(&mut targets);
        }
        let application_name = given
            .nonempty("application_name")
            .or_else(|| given.nonempty("fallback_application_name"));
        Ok(Self {
            targets,
            user,
            database,
            application_name: application_name.unwrap_or(APPLICATION_NAME).to_owned(),
            options: options(given, variables)?,
            connect_timeout: connect_timeout(given)?,
            keepalive: keepalive(given)?,
            session: session_kind(given)?,
            tls,
        })
    }

    /// Says so where the way to a server is less protected than by default.
    pub(super) fn warn_of_weakness(&self) {
        for target in &self.targets {
            let Place::Tcp { host, address } = &target.place else { continue };
            let weakness = match target.tls {
                _ if is_loopback(host, *address) => continue,
                TlsMode::Full => continue,
                TlsMode::Off => "sslmode=disable: shares pass the network in the clear",
                TlsMode::Optional { .. } => {
                    "sslmode=prefer: shares pass the network in the clear where the server, or \
                     anybody in between, says that it has no TLS"
                }
                TlsMode::Required => "sslmode=require: the server's certificate is not verified",
                TlsMode::Chain => {
                    "the server's name is not verified, only who signed its certificate"
                }
            };
            tracing::warn!("PostgreSQL at {self}: {weakness}; sslmode=verify-full protects them");
        }
    }
}

fn user(given: &Given) -> Result<String, ConnectError> {
    if let Some(user) = given.nonempty("user") {
        return Ok(user.to_owned());
    }
    system_user().ok_or_else(|| {
        ConnectError::bad_setting(
            "the user name",
            "none is given, and this process's user has none in the system: give one, as in \
             postgres://USER@HOST/DATABASE, or set PGUSER",
        )
    })
}

/// The name of the user that this process runs as.
fn system_user() -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_file = name_of(&passwd, rustix::process::geteuid().as_raw());
    of_file.or_else(|| {
        // Users of a directory service are in no file.
        named(sqlx::postgres::PgConnectOptions::new_without_pgpass().get_username())
    })
}

/// The name of a user in a file like `/etc/passwd`.
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1) == Some(uid.as_str())).then_some(name)
    };
    passwd.lines().find_map(of_line)
}

/// The driver has these words for no user at all.
fn named(name: &str) -> Option<String> {
    let is_none = ["", "anonymous", "unknown"].contains(&name.to_ascii_lowercase().as_str());
    (!is_none).then(|| name.to_owned())
}

/// The servers, with their ports.
fn places(given: &Given) -> Result<Vec<(Place, u16)>, ConnectError> {
    let list = |name| given.nonempty(name).map(|text| text.split(',').collect::<Vec<_>>());
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = match (&hosts, &addresses) {
        (Some(hosts), Some(addresses)) if hosts.len() != addresses.len() => {
            return Err(given.bad("hostaddr", "it has another number of entries than host"));
        }
        (Some(list), _) | (None, Some(list)) => list.len(),
        (None, None) => 1,
    };
    let ports = ports.unwrap_or_else(|| vec![""]);
    if ports.len() != 1 && ports.len() != count {
        return Err(given.bad("port", "it has another number of entries than host"));
    }
    let mut places = vec![];
    for index in 0..count {
        let port = port(given, ports[if ports.len() == 1 { 0 } else { index }])?;
        let host = hosts.as_ref().map_or("", |hosts| hosts[index]);
        let address = addresses.as_ref().map_or("", |addresses| addresses[index]);
        let address = match address {
            "" => None,
            text => {
                let parsed = text.parse::<IpAddr>();
                Some(parsed.map_err(|_| given.bad("hostaddr", "it is no IP address"))?)
            }
        };
        let host =
            if host.is_empty() && address.is_none() { default_host(port) } else { host.into() };
        let is_path = host.starts_with('/') && address.is_none();
        places.push((
            if is_path { Place::Socket(host.into()) } else { Place::Tcp { host, address } },
            port,
        ));
    }
    Ok(places)
}

fn port(given: &Given, text: &str) -> Result<u16, ConnectError> {
    match text.trim_ascii() {
        "" => Ok(5432),
        text => match text.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(given.bad("port", "a port is a number from 1 to 65535")),
        },
    }
}

/// The socket where one is, or this machine.
fn default_host(port: u16) -> String {
    let is_there = |folder: &&&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    let socket = DEFAULT_SOCKETS.iter().find(is_there);
    socket.map_or_else(|| "localhost".to_owned(), |folder| (*folder).to_owned())
}

fn password_of(file: &Path, target: &Target, database: &str, user: &str) -> Option<SecretString> {
    let host = match &target.place {
        // In the file, this name means the socket in its default directory.
        Place::Socket(folder) if DEFAULT_SOCKETS.iter().any(|one| Path::new(one) == folder) => {
            "localhost".to_owned()
        }
        Place::Socket(folder) => folder.display().to_string(),
        Place::Tcp { host, address: Some(address) } if host.is_empty() => address.to_string(),
        Place::Tcp { host, .. } => host.clone(),
    };
    password_in(file, &Wanted { host: &host, port: target.port, database, user })
}

/// In a random order.
fn shuffle(targets: &mut [Target]) {
    use std::hash::{BuildHasher, Hasher};
    for index in (1..targets.len()).rev() {
        let random = std::hash::RandomState::new().build_hasher().finish();
        targets.swap(index, (random % (index as u64 + 1)) as usize);
    }
}

fn tls_plan(given: &Given, variables: Variables<'_>) -> Result<TlsPlan, ConnectError> {
    let folder = home(variables).map(|home| home.join(".postgresql"));
    let in_folder =
        |name: &str| folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists());
    let readable = |name: &'static str, path: PathBuf| match std::fs::File::open(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(given.bad(name, &format!("cannot read {}: {error}", path.display()))),
    };
    let roots = match given.nonempty("sslrootcert") {
        Some("system") => Roots::System,
        Some(path) => Roots::File(readable("sslrootcert", path.into())?),
        None => in_folder("root.crt").map_or(Roots::Default, Roots::File),
    };
    let certificate = match given.nonempty("sslcert") {
        Some(path) => Some(readable("sslcert", path.into())?),
        None => in_folder("postgresql.crt"),
    };
    let key = match given.nonempty("sslkey") {
        Some(path) => Some(private("sslkey", given, readable("sslkey", path.into())?)?),
        None => in_folder("postgresql.key"),
    };
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err(given.bad("sslcert", "it needs its sslkey")),
        (None, Some(_)) => return Err(given.bad("sslkey", "it needs its sslcert")),
    };
    let versions = [
        ("TLSv1", Version::Tls12),
        ("TLSv1.1", Version::Tls12),
        ("TLSv1.2", Version::Tls12),
        ("TLSv1.3", Version::Tls13),
    ];
    let lowest = given.word("ssl_min_protocol_version", &versions)?.unwrap_or(Version::Tls12);
    let highest = given.word("ssl_max_protocol_version", &versions[2..])?.unwrap_or(Version::Tls13);
    if lowest > highest {
        return Err(given.bad("ssl_max_protocol_version", "it is below ssl_min_protocol_version"));
    }
    let direct = [("postgres", false), ("direct", true)];
    Ok(TlsPlan {
        roots,
        client,
        sends_name: given.word("sslsni", &[("1", true), ("0", false)])?.unwrap_or(true),
        direct: given.word("sslnegotiation", &direct)?.unwrap_or(false),
        lowest,
        highest,
    })
}

/// A key that others may read is refused, as in libpq.
fn private(name: &'static str, given: &Given, path: PathBuf) -> Result<PathBuf, ConnectError> {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = path.metadata() else { return Ok(path) };
    let open = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.is_file() && metadata.mode() & open != 0 {
        return Err(given.bad(name, &format!("others may read {}: chmod 600 it", path.display())));
    }
    Ok(path)
}

/// What protects the connection to one server.
///
/// A host that is neither this machine nor a socket is verified unless a weaker mode was asked for.
/// A root certificate makes the weaker modes verify the chain, as in libpq.
fn tls_mode(given: &Given, place: &Place, tls: &TlsPlan) -> Result<TlsMode, ConnectError> {
    let modes = [
        ("disable", TlsMode::Off),
        ("prefer", TlsMode::Optional { chain: false }),
        ("require", TlsMode::Required),
        ("verify-ca", TlsMode::Chain),
        ("verify-full", TlsMode::Full),
    ];
    let asked = match given.text("sslmode") {
        Some("allow") => {
            return Err(given.bad("sslmode", "allow is not supported: give prefer, or disable"));
        }
        _ => given.word("sslmode", &modes)?,
    };
    if tls.roots == Roots::System && asked.is_some_and(|mode| mode != TlsMode::Full) {
        return Err(given.bad("sslmode", "with sslrootcert=system it can only be verify-full"));
    }
    if tls.direct && matches!(asked, Some(TlsMode::Off | TlsMode::Optional { .. })) {
        return Err(given.bad("sslmode", "with sslnegotiation=direct it is require or stronger"));
    }
    let (host, address) = match place {
        Place::Socket(_) => return Ok(TlsMode::Off),
        Place::Tcp { host, address } => (host, address),
    };
    let needs_tls = tls.direct || tls.roots == Roots::System;
    let mode = match asked {
        Some(mode) => mode,
        None if is_loopback(host, *address) && !needs_tls => TlsMode::Optional { chain: false },
        None => TlsMode::Full,
    };
    let has_root = matches!(tls.roots, Roots::File(_));
    Ok(match mode {
        TlsMode::Required if has_root => TlsMode::Chain,
        TlsMode::Optional { .. } => TlsMode::Optional { chain: has_root },
        mode => mode,
    })
}

/// Whether a connection stays on this machine.
pub(super) fn is_loopback(host: &str, address: Option<IpAddr>) -> bool {
    match address.or_else(|| host.parse().ok()) {
        Some(address) => address.is_loopback(),
        None => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Zero means no limit, as in libpq; nothing shorter than two seconds is sensible there.
fn connect_timeout(given: &Given) -> Result<Duration, ConnectError> {
    Ok(match given.number("connect_timeout")? {
        None => DEFAULT_CONNECT_TIMEOUT,
        Some(seconds) if seconds <= 0 => Duration::MAX,
        Some(seconds) => Duration::from_secs(seconds.unsigned_abs()),
    })
}

fn keepalive(given: &Given) -> Result<Keepalive, ConnectError> {
    let positive = |name, default| {
        let number = given.number(name)?;
        let number =
            number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        Ok::<_, ConnectError>(number.unwrap_or(default))
    };
    let user_timeout = given.number("tcp_user_timeout")?.map_or(60_000, |time| time.max(0));
    Ok(Keepalive {
        enabled: given.number("keepalives")? != Some(0),
        idle: Duration::from_secs(positive("keepalives_idle", 30)?),
        interval: Duration::from_secs(positive("keepalives_interval", 10)?),
        count: u32::try_from(positive("keepalives_count", 3)?).unwrap_or(u32::MAX),
        user_timeout: Duration::from_millis(user_timeout.unsigned_abs()),
    })
}

fn session_kind(given: &Given) -> Result<SessionKind, ConnectError> {
    let kinds = [
        ("any", SessionKind::Any),
        ("read-write", SessionKind::ReadWrite),
        ("read-only", SessionKind::ReadOnly),
        ("primary", SessionKind::Primary),
        ("standby", SessionKind::Standby),
        ("prefer-standby", SessionKind::PreferStandby),
    ];
    Ok(given.word("target_session_attrs", &kinds)?.unwrap_or(SessionKind::Any))
}

/// `-c name=value`, `-cname=value` and `--name=value`, with a backslash before what is no
/// separator.
fn options(given: &Given, variables: Variables<'_>) -> Result<Vec<(String, String)>, ConnectError> {
    let Some(text) = given.nonempty("options") else { return Ok(vec![]) };
    let bad = |reason| given.bad("options", reason);
    let of_variable = variables("PGOPTIONS").filter(|value| !value.is_empty());
    if let Some(of_variable) = of_variable {
        // The driver sends the variable by itself, and would add it to the other.
        if of_variable != text {
            return Err(bad("PGOPTIONS is set to something else: unset one of them"));
        }
    }
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let word = words.last_mut().expect("never empty");
        match character {
            '\\' => word.extend(characters.next()),
            character if character.is_ascii_whitespace() => words.push(String::new()),
            character => word.push(character),
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut options = vec![];
    while let Some(word) = words.next() {
        let option = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().ok_or_else(|| bad("a -c has no name=value after it"))?,
            Some(option) => option.to_owned(),
            None => return Err(bad("it can only have -c name=value")),
        };
        let (name, value) = option.split_once('=').ok_or_else(|| bad("a -c has no '='"))?;
        options.push((name.to_owned(), value.to_owned()));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_an_entry_has_no_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nop:x:1000:0::/:/bin/sh\nbroken\n";
        assert_eq!(name_of(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("op"));
        assert_eq!(name_of(passwd, 10_001), None);
        assert_eq!(["anonymous", "unknown", ""].map(named), [None, None, None]);
        assert_eq!(named("op").as_deref(), Some("op"));
    }
}
