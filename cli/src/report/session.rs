//! A session: what the parties agree on, for people and for programs.

use std::collections::BTreeMap;
use std::path::Path;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::AgreeKind;
use reshare_files::timestamp::Timestamp;
use reshare_format::session::{Session, SessionIds, fingerprint_groups, fingerprint_words};
use serde::Serialize;

use super::output::line;
use crate::args::{OutputArgs, WordsArgs};
use crate::failure::Failure;

/// A recipient with more characters is shown in short, by its first ones.
const LONG_RECIPIENT_CHARS: usize = 100;
const SHORT_RECIPIENT_CHARS: usize = 24;

/// A session in words.
#[derive(Debug, Serialize)]
struct SessionSummary<'a> {
    session_id: &'a str,
    fingerprint: String,
    environment: &'a str,
    not_before: String,
    not_after: String,
    /// The one that adds the keystream, and the one that subtracts it.
    senders: [u8; 2],
    receiver: u8,
    recipient: String,
    recipient_sha256: String,
    /// `hybrid` or `classic`.
    seal: String,
    agreement_keys_sha256: [String; 2],
    /// Of the lower sender's key of ML-KEM-768, if the session has it.
    encapsulation_key_sha256: Option<String>,
    /// The key that both senders have in a file, if the session names one.
    shared_key_id: Option<String>,
    /// What the senders' secret rests on.
    blinding: &'static str,
    ids: String,
    /// By party; empty where the session uses no certificates.
    certificate_names: BTreeMap<String, String>,
    ca_sha256: Option<String>,
    /// The network file that it was compared with and fits.
    network: Option<String>,
    table: &'a str,
}

/// Prints a session, and the network file that it was compared with.
pub(crate) fn session(
    output: &OutputArgs,
    session: &Session,
    network: Option<&Path>,
    words: WordsArgs,
) -> Result<(), Failure> {
    if output.json {
        let shown = SessionSummary::of(session, network);
        return line(&serde_json::to_string_pretty(&shown).map_err(Failure::failed)?);
    }
    line(&session_text(session, network, words))
}

/// A session in lines: first who receives, and under which number.
pub(crate) fn session_text(session: &Session, network: Option<&Path>, words: WordsArgs) -> String {
    let shown = SessionSummary::of(session, network);
    let mut lines = shown.parties();
    lines.extend(rows(session, &shown.ids));
    lines.extend(fingerprint(&session.fingerprint(), words));
    lines.join("\n")
}

/// A fingerprint in groups, and as words where that is asked for.
pub(crate) fn fingerprint(fingerprint: &Fingerprint, words: WordsArgs) -> Vec<String> {
    let mut lines = vec![format!("fingerprint  {}", fingerprint_groups(fingerprint))];
    if words.words {
        let all = fingerprint_words(fingerprint);
        let all: Vec<&str> = all.split(' ').collect();
        for (row, some) in all.chunks(WORDS_PER_LINE).enumerate() {
            let label = if row == 0 { "words" } else { "" };
            lines.push(format!("{label:<12} {}", some.join(" ")));
        }
    }
    lines
}

/// Three lines of words for a fingerprint.
const WORDS_PER_LINE: usize = 8;

impl<'a> SessionSummary<'a> {
    fn of(session: &'a Session, network: Option<&Path>) -> Self {
        let senders = session.senders();
        let receiver = session.receiver();
        let names = senders.iter().map(|sender| (sender.party, &sender.certificate_name));
        let names = names.chain([(receiver.party, &receiver.certificate_name)]);
        let names = names.filter_map(|(party, name)| Some((party, name.as_ref()?)));
        let key = |place: usize| hex::encode(senders[place].agreement_key.sha256());
        Self {
            session_id: session.id().as_str(),
            fingerprint: session.fingerprint().to_string(),
            environment: session.environment().as_str(),
            not_before: Timestamp::from(session.not_before()).to_string(),
            not_after: Timestamp::from(session.not_after()).to_string(),
            senders: [senders[0].party.index(), senders[1].party.index()],
            receiver: receiver.party.index(),
            recipient: receiver.recipient.to_string(),
            recipient_sha256: hex::encode(receiver.recipient.sha256()),
            seal: receiver.recipient.kind().to_string(),
            agreement_keys_sha256: [key(0), key(1)],
            encapsulation_key_sha256: session
                .encapsulation_key()
                .map(|key| hex::encode(key.sha256())),
            shared_key_id: session.shared_key_id().map(|id| id.to_string()),
            blinding: blinding(session),
            ids: ids(session.ids()),
            certificate_names: names
                .map(|(party, name)| (party.to_string(), name.to_string()))
                .collect(),
            ca_sha256: session.ca_sha256().map(hex::encode),
            network: network.map(|path| path.display().to_string()),
            table: session.table(),
        }
    }

    /// A hybrid recipient has some 2,000 characters. Its beginning identifies nothing: anyone can
    /// make keys until one begins like another.
    fn recipient_in_short(&self) -> String {
        match self.recipient.get(..SHORT_RECIPIENT_CHARS) {
            Some(begin) if self.recipient.len() > LONG_RECIPIENT_CHARS => {
                format!("{begin}..., SHA-256 {}", self.recipient_sha256)
            }
            _ => self.recipient.clone(),
        }
    }

    /// Who agrees, and on whom.
    fn parties(&self) -> Vec<String> {
        let [lower, higher] = self.senders;
        let mut lines = vec![
            format!("receiver     party {}", self.receiver),
            format!("recipient    {}, {}", self.seal, self.recipient_in_short()),
            format!("senders      party {lower} (adds), party {higher} (subtracts)"),
            format!("session      {}", self.session_id),
            format!("environment  {}", self.environment),
            format!("valid        {} to {}", self.not_before, self.not_after),
        ];
        for (party, sha256) in self.senders.iter().zip(&self.agreement_keys_sha256) {
            lines.push(format!("sender key   party {party}: SHA-256 {sha256}"));
        }
        if let Some(sha256) = &self.encapsulation_key_sha256 {
            lines.push(format!("ML-KEM key   party {lower}: SHA-256 {sha256}"));
        }
        if let Some(id) = &self.shared_key_id {
            lines.push(format!("shared key   of both senders: id {id}"));
        }
        lines.push(format!("blinding     {}", self.blinding));
        for (party, name) in &self.certificate_names {
            lines.push(format!("certificate  party {party}: {name}"));
        }
        let authority = self.ca_sha256.as_deref();
        let authority = authority.unwrap_or("none: this session uses no certificates");
        lines.push(format!("authority    {authority}"));
        if let Some(network) = &self.network {
            lines.push(format!("network      as in {network}"));
        }
        lines
    }
}

/// What the secret of both senders rests on.
pub(crate) fn blinding(session: &Session) -> &'static str {
    match (session.encapsulation_key(), session.shared_key_id()) {
        (Some(_), Some(_)) => "hybrid: ML-KEM-768, a shared key and P-256",
        (Some(_), None) => "hybrid: ML-KEM-768 and P-256",
        (None, _) => "hybrid: a shared key and P-256",
    }
}

/// Which rows, and how they are cut.
fn rows(session: &Session, ids: &str) -> Vec<String> {
    let mut lines = vec![
        format!("table        {} by {}", session.table(), session.id_column()),
        format!("ids          {ids}"),
    ];
    for column in session.layout().agree() {
        let kind = match column.kind {
            AgreeKind::Integer => "integer",
            AgreeKind::Uuid => "uuid",
        };
        lines.push(format!("agree        {} ({kind})", column.name));
    }
    for column in session.layout().shares() {
        lines.push(format!("share        {} ({} u16)", column.name, column.len));
    }
    let (bytes, rows) = (session.max_part_bytes(), session.part_rows_limit());
    lines.push(format!("part         at most {bytes} bytes, {rows} rows"));
    lines
}

fn ids(ids: &SessionIds) -> String {
    match ids {
        SessionIds::Range(range) => match SessionIds::exclusive_end(*range) {
            Some(end) => format!("{} up to and without {end}", range.first()),
            None => format!("{} and up", range.first()),
        },
        SessionIds::List { count, .. } => format!("{count} from a list"),
    }
}
