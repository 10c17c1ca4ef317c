//! What to do about what a database says, or what its tables are.

use reshare_files::ids::IdRange;
use reshare_pipeline::error::PipelineError;
use reshare_postgres::compare::CompareError;
use reshare_postgres::connect::ConnectError;
use reshare_postgres::export::ExportError;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::schema::SchemaError;

use crate::failure::Hint;

/// What to do about a database, its server or a table.
pub(super) fn database_hint(error: &PipelineError) -> Option<Hint> {
    match error {
        PipelineError::Load(error) => load_hint(error),
        PipelineError::Export(error) | PipelineError::Compare(CompareError::Export(error)) => {
            export_hint(error)
        }
        _ => None,
    }
}

fn export_hint(error: &ExportError) -> Option<Hint> {
    let hint = match error {
        ExportError::Schema(error) => return schema_hint(error),
        ExportError::Database { source, .. }
        | ExportError::Connect(ConnectError::Unreachable { source, .. })
            if source.is_connection_lost() =>
        {
            return Some(Hint::run_again(READ_LOST));
        }
        ExportError::Database { source, .. } if source.code() == Some(INSUFFICIENT_PRIVILEGE) => {
            "the role needs USAGE on the schema and SELECT on the table"
        }
        ExportError::BadRows { .. } => {
            "correct these rows, or leave them out: `send` and `export` list them and go on with \
             --leave-out-bad-rows"
        }
        ExportError::RepeatedId { .. } => {
            "ALTER TABLE ... NO INHERIT for these tables, or remove the rows that are there twice"
        }
        ExportError::Damaged { .. } => {
            "another run meets the same: restore these rows from a backup or a standby, or leave \
             them out (`send` and `export` with --leave-out-bad-rows, or a session for the ids of a \
             list); pg_amcheck finds what else is damaged"
        }
        ExportError::Database { source, .. } if source.is_lock_timeout() => LOCKED,
        ExportError::Database { source, .. } if source.is_undone_for_others() => {
            return Some(Hint::run_again(STANDBY));
        }
        ExportError::SnapshotLost { on_standby: true, .. } => {
            return Some(Hint::run_again(STANDBY));
        }
        ExportError::SnapshotLost { .. } => return Some(Hint::run_again(CONNECTION_LOST)),
        ExportError::Connect(error) => return Some(connect_hint(error)),
        _ => return None,
    };
    Some(hint.into())
}

fn load_hint(error: &LoadError) -> Option<Hint> {
    let hint = match error {
        LoadError::Schema(error) => return schema_hint(error),
        LoadError::LoadedRowsGone { .. } => {
            "rows were deleted after they were loaded: to load all of them again, delete this \
             session's rows from the table reshare_progress in its schema, and give --on-conflict \
             replace"
        }
        LoadError::TurnLost { .. } => {
            return Some(Hint::run_again(
                "somebody ended it, or the server failed over; a pooler in front of the server must keep \
             sessions (pool_mode = session). Run the same command again",
            ));
        }
        LoadError::OtherSource { ranges, is_of_packages: true, .. } => {
            return Some(Hint::from(format!(
                "to load these ids again from the packages as they are now, run `reshare rebuild` \
                 with both packages, whole, and {}. Or continue with the packages that the session \
                 began with: rows that they lack come with a session of their own (`session new \
                 --ids-from`)",
                redo_flags(ranges)
            )));
        }
        LoadError::OtherSource { .. } => {
            "a session loads one delivery: continue with the one that it began with. Rows that \
             this one lacks come with a session of their own (`session new --ids-from`). To load \
             this one instead, delete this session's rows from the table and from \
             reshare_progress in its schema"
        }
        LoadError::NothingToRedo { .. } => {
            "nothing has been changed; `reshare status --db-url` shows which ids are loaded"
        }
        LoadError::RowsNotRemoved { .. } => {
            "nothing of this range has been changed; `reshare check receiver --redo` lists the \
             triggers"
        }
        LoadError::OlderDelivered { .. } => {
            "--allow-older replaces newer rows, too; nothing of this range was written"
        }
        LoadError::Database { source, .. }
        | LoadError::Connect(ConnectError::Unreachable { source, .. })
            if source.is_connection_lost() =>
        {
            return Some(Hint::run_again(CONNECTION_LOST));
        }
        LoadError::Database { source, .. } if source.is_disk_full() => {
            return Some(Hint::run_again(
                "make room on the server's disk, and run the same command again",
            ));
        }
        LoadError::Database { source, .. } if source.code() == Some(INSUFFICIENT_PRIVILEGE) => {
            "the role needs USAGE and CREATE on the schema (for the table reshare_progress), and \
             SELECT and INSERT on both tables; --on-conflict replace needs UPDATE and DELETE on \
             the target, too, and --redo DELETE on both"
        }
        LoadError::Database { source, .. } if source.code() == Some(SERIALIZATION_FAILURE) => {
            return Some(Hint::run_again(
                "something else changes rows of this range, of which nothing has been changed here: \
                 stop it, and run the same command again",
            ));
        }
        LoadError::Database { source, .. } if source.code() == Some(READ_ONLY_TRANSACTION) => {
            "this is a standby, or default_transaction_read_only is set for the role or the server"
        }
        LoadError::Database { source, .. } if source.is_lock_timeout() => LOCKED,
        LoadError::Connect(error) => return Some(connect_hint(error)),
        _ => return None,
    };
    Some(hint.into())
}

/// What to do about a connection that does not come about.
pub(crate) fn connect_hint(error: &ConnectError) -> Hint {
    let hint = match error {
        ConnectError::Pooled { .. } => {
            "connect to the server itself, or through a pooler that keeps sessions (PgBouncer: \
             pool_mode = session)"
        }
        ConnectError::Tls { .. } => {
            "sslrootcert=FILE names the authority that signed the server's certificate; sslmode sets \
             what is verified"
        }
        ConnectError::OtherKind { .. } => "name such a server, or set target_session_attrs to any",
        _ => NO_CONNECTION,
    };
    hint.into()
}

const LOCKED: &str = "somebody holds a lock on the table: the log says who, and `reshare check` names it. End that, \
    or give more time with --lock-wait";
const READ_LOST: &str = "a standby may have ended the read to go on with its replay: `reshare check` says whether \
    it does that; run the same command again when the server is back";
const STANDBY: &str = "on a standby, set hot_standby_feedback = on, or max_standby_streaming_delay and \
    max_standby_archive_delay = -1 for the time of the run, or read the primary; then run the same command again";
const CONNECTION_LOST: &str = "run the same command again when the server is back";
const NO_CONNECTION: &str =
    "check --db-url, DATABASE_URL or the PG* variables, and whether the server runs";

/// SQLSTATEs that have a hint of their own.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const READ_ONLY_TRANSACTION: &str = "25006";
const SERIALIZATION_FAILURE: &str = "40001";

/// The flags that have these ids loaded again. More than a few are named by one range: what is
/// loaded in between stays as it is.
fn redo_flags(ranges: &[IdRange]) -> String {
    const FLAGS: usize = 8;
    let hull = ranges.iter().copied().reduce(IdRange::hull);
    let ranges = if ranges.len() > FLAGS { hull.as_slice() } else { ranges };
    let flag = |range: &IdRange| format!("--redo {}-{}", range.first(), range.last());
    ranges.iter().map(flag).collect::<Vec<_>>().join(" ")
}

fn schema_hint(error: &SchemaError) -> Option<Hint> {
    let hint = match error {
        SchemaError::Database(source) if source.is_connection_lost() => {
            return Some(Hint::run_again(CONNECTION_LOST));
        }
        SchemaError::NoSuchTable { .. } => {
            "check --db-url and --db-schema; the receiver's table must be there, empty or not"
        }
        SchemaError::EpochNotAgreed { .. } => {
            "make the session with --agree-column version_id --agree-column rerand_epoch"
        }
        _ => return None,
    };
    Some(hint.into())
}
