//! The receivers of a sender's sessions: which number each recipient has had.
//!
//! A session without certificates names its receiver by a number and an age recipient alone. A
//! party that receives under a second number gets shares at a second evaluation point, and can then
//! compute every record alone. So a sender's state directory remembers the receiver of every
//! session that it has approved. `docs/format.md` has the bytes of the file.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::durable::{self, DurableFile, DurableLog};
use reshare_files::fault::Refusable;
use reshare_format::session::Session;

/// The receivers that a state directory remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receivers {
    path: PathBuf,
    known: Vec<Known>,
}

/// The receiver of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// The party whose state directory this is.
    own: PartyId,
    receiver: PartyId,
    /// BLAKE3 of the recipient's text.
    recipient: [u8; 32],
    session: Fingerprint,
}

/// A receiver that may get this party's shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquaintance {
    /// Number and recipient are those of an earlier session.
    Known,
    /// The number is that of an earlier session, the recipient is new.
    NewRecipient,
    /// The operator has said that the number is a new party's.
    NewParty,
}

const HEADER: &str = "reshare-receivers/1\n";
/// Two numbers of two digits, two digests of 64, a space between them and a line feed.
const LINE_BYTES: usize = 2 + 1 + 2 + 1 + 64 + 1 + 64 + 1;
const _: () = assert!(LINE_BYTES == 136);
/// The most of it that is read: some hundred thousand sessions.
const MAX_BYTES: u64 = 16 << 20;

impl Receivers {
    /// The path of the file in a state directory.
    #[must_use]
    pub fn path_in(state: &Path) -> PathBuf {
        state.join("receivers")
    }

    /// Reads what a state directory remembers; one without the file remembers nothing.
    ///
    /// # Errors
    /// A [`ReceiversError`] when it cannot be read, or is not what this program wrote.
    pub fn load(state: &Path) -> Result<Self, ReceiversError> {
        let path = Self::path_in(state);
        let known = read(&path).and_then(|bytes| bytes.map_or(Ok(vec![]), |bytes| parse(&bytes)));
        match known {
            Ok(known) => Ok(Self { path, known }),
            Err(defect) => Err(ReceiversError { path, defect }),
        }
    }

    /// Checks that the receiver of a session is one that may get this party's shares.
    ///
    /// `new_party` is the number that the operator says is a new party's.
    ///
    /// # Errors
    /// An [`UnknownReceiver`], unless `new_party` is the session's receiver.
    pub fn check(
        &self,
        session: &Session,
        new_party: Option<PartyId>,
    ) -> Result<Acquaintance, UnknownReceiver> {
        self.check_one(session.receiver().party, recipient_digest(session), new_party)
    }

    fn check_one(
        &self,
        party: PartyId,
        recipient: [u8; 32],
        new_party: Option<PartyId>,
    ) -> Result<Acquaintance, UnknownReceiver> {
        let has_number = |known: &&Known| known.receiver == party;
        let has_recipient = |known: &&Known| known.recipient == recipient;
        if self.known.iter().filter(has_number).any(|known| has_recipient(&known)) {
            return Ok(Acquaintance::Known);
        }
        if new_party == Some(party) {
            return Ok(Acquaintance::NewParty);
        }
        if let Some(known) = self.known.iter().find(has_recipient) {
            return Err(UnknownReceiver::SecondNumber { party, known: known.receiver });
        }
        match self.known.iter().find(has_number) {
            Some(_) => Ok(Acquaintance::NewRecipient),
            None => Err(UnknownReceiver::NeverSeen { party }),
        }
    }

    /// Checks that this party has the number that it had in all earlier sessions: under another one
    /// its shares would give the receiver a share at another evaluation point.
    ///
    /// # Errors
    /// [`UnknownReceiver::OwnNumber`].
    pub fn check_own(&self, own: PartyId) -> Result<(), UnknownReceiver> {
        match self.known.iter().find(|known| known.own != own) {
            Some(known) => Err(UnknownReceiver::OwnNumber { own, known: known.own }),
            None => Ok(()),
        }
    }

    /// Remembers the receiver of a session; durable on return.
    ///
    /// # Errors
    /// A [`ReceiversError`]; it is then unknown whether the receiver is remembered.
    pub fn record(&mut self, session: &Session, own: PartyId) -> Result<(), ReceiversError> {
        let (receiver, recipient) = (session.receiver().party, recipient_digest(session));
        self.record_one(Known { own, receiver, recipient, session: session.fingerprint() })
    }

    fn record_one(&mut self, one: Known) -> Result<(), ReceiversError> {
        if self.known.contains(&one) {
            return Ok(());
        }
        append(&self.path, &one).map_err(|defect| self.error(defect))?;
        self.known.push(one);
        Ok(())
    }

    fn error(&self, defect: ReceiversDefect) -> ReceiversError {
        ReceiversError { path: self.path.clone(), defect }
    }
}

fn recipient_digest(session: &Session) -> [u8; 32] {
    *blake3::hash(session.receiver().recipient.to_string().as_bytes()).as_bytes()
}

impl Known {
    fn line(&self) -> String {
        let Self { own, receiver, recipient, session } = self;
        let (own, receiver) = (own.index(), receiver.index());
        let recipient = Fingerprint(*recipient);
        format!("{own:02} {receiver:02} {recipient} {session}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let [own, receiver, recipient, session] =
            line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let party = |text: &str| PartyId::try_from(text.parse::<u64>().ok()?).ok();
        let digest = |text: &str| {
            let parsed = blake3::Hash::from_hex(text).ok()?;
            Some(*parsed.as_bytes())
        };
        let known = Self {
            own: party(own)?,
            receiver: party(receiver)?,
            recipient: digest(recipient)?,
            session: Fingerprint(digest(session)?),
        };
        // One line has one spelling.
        (known.line().trim_end() == line).then_some(known)
    }
}

/// Reads the file; `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ReceiversDefect> {
    let file = match durable::open_regular(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(ReceiversDefect::Form { line: 1 }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    check_mode(reshare_files::private::as_closed_to_group(&file, 0o077)?)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn check_mode(mode: u32) -> Result<(), ReceiversDefect> {
    if mode == 0o600 { Ok(()) } else { Err(ReceiversDefect::Permissions { mode }) }
}

/// Reads the lines. A last one that a crash cut short was never relied on: it does not count.
fn parse(bytes: &[u8]) -> Result<Vec<Known>, ReceiversDefect> {
    let lines = bytes.strip_prefix(HEADER.as_bytes()).ok_or(ReceiversDefect::Form { line: 1 })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReceiversDefect::Form { line: 1 });
    }
    let line = |(index, line): (usize, &[u8])| {
        let text = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        text.and_then(Known::parse).ok_or(ReceiversDefect::Form { line: index + 2 })
    };
    lines.chunks_exact(LINE_BYTES).enumerate().map(line).collect()
}

/// Appends a line after the complete ones.
fn append(path: &Path, known: &Known) -> Result<(), ReceiversDefect> {
    if let Some(directory) = path.parent() {
        durable::create_directory(directory)?;
    }
    if !path.exists() {
        let mut file = DurableFile::create(path)?;
        file.write_all(HEADER.as_bytes())?;
        // Another process may have made it in the meantime.
        file.commit_new().or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
    }
    let log = DurableLog::open(path)?;
    let (size, mode) = log.size_and_private_mode()?;
    check_mode(mode)?;
    let header = HEADER.len() as u64;
    let lines = size.checked_sub(header).ok_or(ReceiversDefect::Form { line: 1 })?;
    let end = header + lines / LINE_BYTES as u64 * LINE_BYTES as u64;
    log.write_all_at(known.line().as_bytes(), end)?;
    Ok(log.sync()?)
}

/// The file of a state directory's receivers cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the list of receivers {}", path.display())]
pub struct ReceiversError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub defect: ReceiversDefect,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiversDefect {
    /// Others may read or change it.
    #[error("its mode is {mode:o}: it must be 600")]
    Permissions {
        /// The permission bits.
        mode: u32,
    },
    /// Not what this program wrote.
    #[error("line {line} is not as it was written")]
    Form {
        /// The line, from 1.
        line: usize,
    },
    /// The file system refuses.
    #[error("cannot read or write it")]
    Io(#[from] io::Error),
}

impl Refusable for ReceiversError {}

/// A party under a number that it did not have before, or whose number nobody had before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownReceiver {
    /// A recipient that has received under another number.
    #[error(
        "this session's recipient has received as party {known} before, and would now receive as \
         party {party}: with shares at a second evaluation point it could compute every record alone"
    )]
    SecondNumber {
        /// The session's receiver.
        party: PartyId,
        /// The number that the recipient had.
        known: PartyId,
    },
    /// A number under which nobody has received.
    #[error(
        "nobody has received as party {party} from this state directory yet: a party that gets \
         shares at a second evaluation point, under a number that is not its own, could compute \
         every record alone"
    )]
    NeverSeen {
        /// The session's receiver.
        party: PartyId,
    },
    /// This party under another number.
    #[error(
        "this state directory is party {known}'s, and the session has its owner as party {own}: \
         with another number its shares give the receiver a share at another evaluation point"
    )]
    OwnNumber {
        /// The number in the session.
        own: PartyId,
        /// The number that this party had.
        known: PartyId,
    },
}

impl Refusable for UnknownReceiver {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn party(index: u8) -> PartyId {
        PartyId::new(index).expect("a party")
    }

    /// Party 0 sends to a receiver with the recipient `[recipient; 32]`.
    fn known(receiver: u8, recipient: u8) -> Known {
        let session = Fingerprint([16 * receiver + recipient; 32]);
        Known { own: party(0), receiver: party(receiver), recipient: [recipient; 32], session }
    }

    fn load(state: &Path) -> Receivers {
        Receivers::load(state).expect("sound")
    }

    #[test]
    fn a_number_and_a_recipient_are_remembered_and_others_are_refused() {
        let state = tempfile::tempdir().expect("a directory");
        let state = state.path().join("deep/state");
        let check = |receiver, recipient, new: Option<u8>| {
            load(&state).check_one(party(receiver), [recipient; 32], new.map(party))
        };
        let never = |index| Err(UnknownReceiver::NeverSeen { party: party(index) });
        assert_eq!(check(2, 7, None), never(2));
        assert_eq!(check(2, 7, Some(3)), never(2), "another number is confirmed");
        assert_eq!(check(2, 7, Some(2)), Ok(Acquaintance::NewParty));
        assert!(!state.exists(), "a check writes nothing");
        load(&state).record_one(known(2, 7)).expect("written");
        assert_eq!(check(2, 7, None), Ok(Acquaintance::Known));
        assert_eq!(check(2, 8, None), Ok(Acquaintance::NewRecipient));
        assert_eq!(check(3, 8, None), never(3));
        let second = UnknownReceiver::SecondNumber { party: party(3), known: party(2) };
        assert!(second.to_string().contains("evaluation point"), "{second}");
        assert_eq!(check(3, 7, None), Err(second.clone()));
        // Somebody else has received under that number since: the recipient is still party 2's.
        load(&state).record_one(known(3, 8)).expect("written");
        assert_eq!(check(3, 7, None), Err(second));
        // Confirmed once, it is known.
        assert_eq!(check(3, 7, Some(3)), Ok(Acquaintance::NewParty));
        load(&state).record_one(known(3, 7)).expect("written");
        assert_eq!(check(3, 7, None), Ok(Acquaintance::Known));
        assert_eq!(check(2, 7, None), Ok(Acquaintance::Known));
        assert_eq!(load(&state).check_own(party(0)), Ok(()));
        let other = UnknownReceiver::OwnNumber { own: party(1), known: party(0) };
        assert_eq!(load(&state).check_own(party(1)), Err(other));
    }

    #[test]
    fn the_file_is_the_documented_one_and_private() {
        let state = tempfile::tempdir().expect("a directory");
        let (state, path) = (state.path(), Receivers::path_in(state.path()));
        for one in [known(2, 7), known(2, 7), known(14, 8)] {
            load(state).record_one(one).expect("written");
        }
        let lines = [
            "reshare-receivers/1\n".to_owned(),
            format!("00 02 {} {}\n", "07".repeat(32), "27".repeat(32)),
            format!("00 14 {} {}\n", "08".repeat(32), "e8".repeat(32)),
        ];
        assert_eq!(fs::read_to_string(&path).expect("text"), lines.concat());
        assert_eq!(path.metadata().expect("its metadata").permissions().mode() & 0o7777, 0o600);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("changed");
        let refused = Receivers::load(state).expect_err("others may read it").defect;
        assert!(matches!(refused, ReceiversDefect::Permissions { mode: 0o644 }));
    }

    #[test]
    fn a_line_that_a_crash_cut_short_does_not_count_and_any_other_is_refused() {
        let state = tempfile::tempdir().expect("a directory");
        let (state, path) = (state.path(), Receivers::path_in(state.path()));
        load(state).record_one(known(2, 7)).expect("written");
        load(state).record_one(known(3, 8)).expect("written");
        let whole = fs::read(&path).expect("readable");
        let header = HEADER.len();
        for end in header..whole.len() {
            fs::write(&path, &whole[..end]).expect("written");
            let lines = (end - header) / LINE_BYTES;
            assert_eq!(load(state).known, [known(2, 7), known(3, 8)][..lines], "{end} bytes");
        }
        // The next line takes the place of what was cut short.
        load(state).record_one(known(3, 8)).expect("written");
        assert_eq!(fs::read(&path).expect("readable"), whole);
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] = b'x';
            fs::write(&path, changed).expect("written");
            let line = 1 + place.checked_sub(header).map_or(0, |place| place / LINE_BYTES + 1);
            let refused = Receivers::load(state).expect_err("changed");
            assert!(refused.is_refusal());
            let at = |defect: &ReceiversDefect| matches!(defect, ReceiversDefect::Form { line: l } if *l == line);
            assert!(at(&refused.defect), "{place}: {refused:?}");
        }
        fs::write(&path, "").expect("written");
        assert!(Receivers::load(state).is_err());
    }
}
