//! One part on its way to the receiver.

use reshare_files::ids::IdRange;
use reshare_format::package::{PartName, SignedPartRecord};

use super::upload_body::Content;

/// One part to be delivered.
#[derive(Debug, Clone)]
pub struct PartUpload {
    /// Its name in the package.
    pub name: PartName,
    /// The ids that it covers, where the receiver merges parts as they arrive.
    pub ids: Option<IdRange>,
    /// Its rows.
    pub rows: u64,
    /// The sealed bytes.
    pub content: Content,
    /// Their digest.
    pub blake3: blake3::Hash,
    /// What the sender says of them, where the receiver merges parts as they arrive.
    pub record: Option<SignedPartRecord>,
}
