//! The session file: TOML in, TOML out.

use std::path::Path;
use std::sync::Arc;

use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_files::file_error::OnFile;
use reshare_files::input_file::{read_input, without_bom};
use serde::Deserialize;
use time::{Date, Month, OffsetDateTime, Time};
use toml::value::{Datetime, Offset};

use super::fingerprint::kind_name;
use super::{CarriedCertificates, NewSession, Receiver, Sender, Session, SessionError, SessionIds};
use crate::keys::certificate::CertificateName;
use crate::keys::{self, AgreementPublicKey, EncapsulationKey, SharedKeyId};

impl Session {
    /// Reads a session file.
    ///
    /// # Errors
    /// A [`SessionError`] that names the file, or the key in it and what is wrong there.
    pub fn load(path: &Path) -> Result<Self, SessionError> {
        let bytes = read_input(path, Self::MAX_FILE_BYTES).on("read the session file", path)?;
        if bytes.len() as u64 > Self::MAX_FILE_BYTES {
            return Err(SessionError::TooLarge { limit: Self::MAX_FILE_BYTES });
        }
        Self::parse(std::str::from_utf8(without_bom(&bytes)).map_err(|_| SessionError::NoText)?)
    }

    /// Reads the text of a session file. Unknown keys are refused.
    ///
    /// # Errors
    /// A [`SessionError`] that names the key and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, SessionError> {
        if text.len() as u64 > Self::MAX_FILE_BYTES {
            return Err(SessionError::TooLarge { limit: Self::MAX_FILE_BYTES });
        }
        let mut table: SessionTable = toml::from_str(text).map_err(|e| syntax_error(text, &e))?;
        if table.version != Self::VERSION {
            let (got, expected) = (table.version, Self::VERSION);
            return Err(SessionError::Version { got, expected });
        }
        let nonce = hex_bytes("nonce", &table.nonce)?;
        let TransportTable { server_url, authority, certificates } =
            table.transport.take().unwrap_or_default();
        let facts = NewSession { server_url, ..table.into_facts()? };
        let carried = CarriedCertificates::parse(
            authority.as_deref(),
            &certificates,
            facts.ca_sha256.as_ref(),
        )?;
        Ok(Self { carried, ..Self::with_nonce(facts, nonce)? })
    }

    /// Writes the session file. [`Session::parse`] reads it back as the same session.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut lines = vec![
            "# A resharing session: the same file at all three parties.".to_owned(),
            format!("# Fingerprint: {}", self.fingerprint()),
            format!("version = {}", Self::VERSION),
            format!("session_id = {}", quoted(self.id().as_str())),
            format!("nonce = \"{}\"", hex::encode(self.nonce())),
            format!("environment = {}", quoted(self.environment().as_str())),
            "# Nothing is blinded, sealed or signed outside of this time (UTC).".to_owned(),
            format!("not_before = {}", datetime(self.not_before())),
            format!("not_after = {}", datetime(self.not_after())),
            "# The largest sealed part, in bytes.".to_owned(),
            format!("max_part_bytes = {}", self.max_part_bytes()),
        ];
        if let Some(id) = self.shared_key_id() {
            lines.push("# The key that both senders have in a file.".to_owned());
            lines.push(format!("shared_key_id = \"{id}\""));
        }
        lines.push("\n[ids]".to_owned());
        write_ids(&mut lines, self.ids());
        write_table(&mut lines, self);
        for sender in self.senders() {
            write_sender(&mut lines, sender);
        }
        write_receiver(&mut lines, self.receiver());
        if let Some(digest) = self.ca_sha256() {
            lines.push("\n[trust]\n# SHA-256 of the certificate authority (DER).".to_owned());
            lines.push(format!("ca_sha256 = \"{}\"", hex::encode(digest)));
        }
        write_transport(&mut lines, self);
        lines.join("\n") + "\n"
    }
}

fn write_ids(lines: &mut Vec<String>, ids: &SessionIds) {
    match ids {
        SessionIds::Range(range) => {
            lines.push(format!("start = {}", range.first()));
            match SessionIds::exclusive_end(*range) {
                Some(end) => lines.push(format!("end = {end}  # exclusive")),
                None => lines.push("# No end: every id from the start on.".to_owned()),
            }
        }
        SessionIds::List { digest, count } => {
            lines.push("# BLAKE3 of the ids of the list that travels with this file.".to_owned());
            lines.push(format!("list_blake3 = \"{}\"", hex::encode(digest)));
            lines.push(format!("list_count = {count}"));
        }
    }
}

fn write_table(lines: &mut Vec<String>, session: &Session) {
    lines.push(format!("\n[table]\nname = {}", quoted(session.table())));
    lines.push(format!("id_column = {}", quoted(session.id_column())));
    if !session.layout().agree().is_empty() {
        lines.push("\n# Both senders must have equal values here for a row to be rebuilt.".into());
    }
    for column in session.layout().agree() {
        lines.push(format!("[[table.agree]]\ncolumn = {}", quoted(&column.name)));
        lines.push(format!("kind = \"{}\"", kind_name(column.kind)));
    }
    lines.push("\n# The shares, in u16: a ring element is four of them.".to_owned());
    for column in session.layout().shares() {
        lines.push(format!("[[table.share]]\ncolumn = {}", quoted(&column.name)));
        lines.push(format!("len_u16 = {}", column.len));
    }
}

fn write_sender(lines: &mut Vec<String>, sender: &Sender) {
    lines.push(format!("\n[[senders]]\nparty = {}", sender.party));
    write_certificate_name(lines, sender.certificate_name.as_ref());
    lines.push(format!("agreement_key = \"\"\"\n{}\"\"\"", sender.agreement_key.to_pem()));
    if let Some(key) = &sender.encapsulation_key {
        lines.push("# ML-KEM-768: the other sender encapsulates a secret for it.".to_owned());
        lines.push(format!("encapsulation_key = \"\"\"\n{}\"\"\"", key.to_pem()));
    }
}

fn write_receiver(lines: &mut Vec<String>, receiver: &Receiver) {
    lines.push(format!("\n[receiver]\nparty = {}", receiver.party));
    write_certificate_name(lines, receiver.certificate_name.as_ref());
    lines.push("# Every part is sealed for this key.".to_owned());
    lines.push(format!("age_recipient = \"{}\"", receiver.recipient));
}

fn write_certificate_name(lines: &mut Vec<String>, name: Option<&CertificateName>) {
    if let Some(name) = name {
        lines.push(format!("certificate_name = {}", quoted(name.as_str())));
    }
}

fn write_transport(lines: &mut Vec<String>, session: &Session) {
    if session.server_url().is_none() && session.carried().is_none() {
        return;
    }
    lines.push("\n# Not part of the fingerprint: each party may change it.".to_owned());
    lines.push("[transport]".to_owned());
    if let Some(url) = session.server_url() {
        lines.push(format!("server_url = {}", quoted(url)));
    }
    if let Some(CarriedCertificates { authority, parties }) = session.carried() {
        lines.push("# Certificates: the authority's, and each party's for itself.".to_owned());
        lines.push(format!("authority = \"\"\"\n{}\"\"\"", authority.to_pem()));
        let parties = parties.iter().map(|chain| format!("\"\"\"\n{}\"\"\",", chain.to_pem()));
        lines.push(format!("certificates = [\n{}\n]", parties.collect::<Vec<_>>().join("\n")));
    }
}

/// Any text as a TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn datetime(time: OffsetDateTime) -> String {
    let (hour, minute, second) = time.time().as_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", time.date())
}

/// The session file as written, unchecked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionTable {
    version: u64,
    session_id: String,
    nonce: String,
    environment: String,
    not_before: Datetime,
    not_after: Datetime,
    #[serde(default = "default_max_part_bytes")]
    max_part_bytes: u64,
    shared_key_id: Option<String>,
    ids: IdsTable,
    table: TableTable,
    senders: Vec<SenderTable>,
    receiver: ReceiverTable,
    trust: Option<TrustTable>,
    transport: Option<TransportTable>,
}

fn default_max_part_bytes() -> u64 {
    Session::DEFAULT_MAX_PART_BYTES
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdsTable {
    start: Option<i64>,
    end: Option<i64>,
    list_blake3: Option<String>,
    list_count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableTable {
    name: String,
    id_column: String,
    #[serde(default)]
    agree: Vec<AgreeTable>,
    share: Vec<ShareTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgreeTable {
    column: String,
    kind: KindName,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Integer,
    Uuid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareTable {
    column: String,
    len_u16: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SenderTable {
    party: u64,
    certificate_name: Option<String>,
    agreement_key: String,
    encapsulation_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverTable {
    party: u64,
    certificate_name: Option<String>,
    age_recipient: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustTable {
    ca_sha256: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransportTable {
    server_url: Option<String>,
    authority: Option<String>,
    #[serde(default)]
    certificates: Vec<String>,
}

impl SessionTable {
    fn into_facts(self) -> Result<NewSession, SessionError> {
        let name = |key: &str| {
            let key = key.to_owned();
            move |source| SessionError::Name { key, source }
        };
        let got = self.senders.len();
        let senders: [SenderTable; 2] =
            self.senders.try_into().map_err(|_| SessionError::SenderCount { got })?;
        let [first, second] = senders;
        let ca = self.trust.map(|trust| hex_bytes("trust.ca_sha256", &trust.ca_sha256));
        Ok(NewSession {
            session_id: self.session_id.parse().map_err(name("session_id"))?,
            environment: self.environment.parse().map_err(name("environment"))?,
            not_before: utc_second("not_before", self.not_before)?,
            not_after: utc_second("not_after", self.not_after)?,
            ids: self.ids.into_ids()?,
            table: self.table.name,
            id_column: self.table.id_column,
            layout: layout(self.table.agree, self.table.share)?,
            max_part_bytes: self.max_part_bytes,
            senders: [first.into_sender()?, second.into_sender()?],
            receiver: self.receiver.into_receiver()?,
            shared_key_id: self.shared_key_id.as_deref().map(shared_key_id).transpose()?,
            ca_sha256: ca.transpose()?,
            server_url: None,
        })
    }
}

impl IdsTable {
    fn into_ids(self) -> Result<SessionIds, SessionError> {
        match (self.start, self.end, self.list_blake3, self.list_count) {
            (Some(start), end, None, None) => {
                let ids = SessionIds::from_start_end(start, end);
                let end = end.unwrap_or(i64::MAX);
                ids.ok_or(SessionError::EmptyRange { start, end })
            }
            (None, None, Some(digest), Some(count)) => {
                Ok(SessionIds::List { digest: hex_bytes("ids.list_blake3", &digest)?, count })
            }
            _ => Err(SessionError::IdsForm),
        }
    }
}

impl SenderTable {
    fn into_sender(self) -> Result<Sender, SessionError> {
        let key = "senders.agreement_key".to_owned();
        let agreement_key = AgreementPublicKey::from_pem(&self.agreement_key)
            .map_err(|source| SessionError::AgreementKey { key, source })?;
        let encapsulation_key = self.encapsulation_key.as_deref().map(EncapsulationKey::from_pem);
        Ok(Sender {
            party: party("senders.party", self.party)?,
            certificate_name: certificate_name("senders.certificate_name", self.certificate_name)?,
            agreement_key,
            encapsulation_key: encapsulation_key
                .transpose()
                .map_err(|source| SessionError::EncapsulationKey { source })?,
        })
    }
}

impl ReceiverTable {
    fn into_receiver(self) -> Result<Receiver, SessionError> {
        let key = "receiver.certificate_name";
        Ok(Receiver {
            party: party("receiver.party", self.party)?,
            certificate_name: certificate_name(key, self.certificate_name)?,
            recipient: keys::parse_recipient(&self.age_recipient)
                .map_err(|source| SessionError::Recipient { source })?,
        })
    }
}

fn party(key: &str, index: u64) -> Result<PartyId, SessionError> {
    PartyId::try_from(index).map_err(|source| SessionError::Party { key: key.to_owned(), source })
}

fn certificate_name(
    key: &str,
    text: Option<String>,
) -> Result<Option<CertificateName>, SessionError> {
    let error = |source| SessionError::Name { key: key.to_owned(), source };
    text.map(|text| text.parse()).transpose().map_err(error)
}

fn layout(agree: Vec<AgreeTable>, share: Vec<ShareTable>) -> Result<Arc<RowLayout>, SessionError> {
    let agree = agree.into_iter().map(|column| AgreeColumn {
        name: column.column,
        kind: match column.kind {
            KindName::Integer => AgreeKind::Integer,
            KindName::Uuid => AgreeKind::Uuid,
        },
    });
    let shares = share.into_iter();
    let shares = shares.map(|column| ShareColumn { name: column.column, len: column.len_u16 });
    Ok(Arc::new(RowLayout::new(agree.collect(), shares.collect())?))
}

fn shared_key_id(text: &str) -> Result<SharedKeyId, SessionError> {
    let key = "shared_key_id";
    text.parse().map_err(|_| SessionError::Hex { key, bytes: SharedKeyId::BYTES })
}

/// Reads exactly `N` bytes in lower-case hexadecimal: each value has one spelling.
fn hex_bytes<const N: usize>(key: &'static str, text: &str) -> Result<[u8; N], SessionError> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) if lower => Ok(bytes),
        _ => Err(SessionError::Hex { key, bytes: N }),
    }
}

/// Reads a date, a time in whole seconds and `Z`; impossible values are refused elsewhere.
fn utc_second(key: &'static str, value: Datetime) -> Result<OffsetDateTime, SessionError> {
    let read = || {
        let (date, time) = (value.date?, value.time?);
        let month = Month::try_from(date.month).ok()?;
        let date = Date::from_calendar_date(i32::from(date.year), month, date.day).ok()?;
        let whole = time.nanosecond.unwrap_or(0) == 0;
        let time = Time::from_hms(time.hour, time.minute, time.second?).ok()?;
        let utc = value.offset == Some(Offset::Z);
        (whole && utc).then(|| date.with_time(time).assume_utc())
    };
    read().ok_or_else(|| SessionError::Time { key, got: value.to_string() })
}

fn syntax_error(text: &str, error: &toml::de::Error) -> SessionError {
    let (line, column) = text_position(text, error);
    SessionError::Syntax { line, column, message: error.message().to_owned() }
}

/// Line and column of an error in a text, both from 1.
pub(crate) fn text_position(text: &str, error: &toml::de::Error) -> (usize, usize) {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    (line, before.chars().rev().take_while(|c| *c != '\n').count() + 1)
}
