//! Share files, mapped.

use std::fs::Permissions;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use reshare_format::share_file::{Expected, Kind, ShareFile, ShareFileDefect, inspect};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::sample;

/// Checks the bytes as they are, and again with a valid checksum of the header, so that the code
/// after the checksum is reached too.
///
/// # Panics
/// When a file is accepted whose rows are not what its header says.
pub fn check(data: &[u8]) -> bool {
    let accepted = open(data);
    let mut fitting = data.to_vec();
    if fix_checksum(&mut fitting) {
        open(&fitting);
    }
    accepted
}

/// Makes the header's checksum fit, as `docs/format.md` defines it; false without a header.
pub(crate) fn fix_checksum(file: &mut [u8]) -> bool {
    let Some(header) = file.get_mut(..4096) else { return false };
    header[192..224].fill(0);
    let checksum = blake3::hash(header);
    header[192..224].copy_from_slice(checksum.as_bytes());
    true
}

fn open(bytes: &[u8]) -> bool {
    let memory = memfd_create("share-file", MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = std::fs::File::from(memory);
    // Whose file others may write is not mapped.
    file.set_permissions(Permissions::from_mode(0o600)).expect("changed");
    file.write_all(bytes).expect("written");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let inspected = inspect(&path);
    let mut accepted = false;
    for kind in [Kind::Plain, Kind::Blinded, Kind::Rebuilt] {
        let expected =
            Expected { fingerprint: sample::FINGERPRINT, kind, party: None, layout: None };
        let Ok(opened) = ShareFile::open(&path, &expected) else { continue };
        assert!(inspected.is_ok(), "opened, and not inspected");
        let (spec, rows) = (&opened.header().spec, opened.rows());
        assert_eq!(rows.len() as u64, spec.rows, "rows");
        assert!(rows.ids.is_sorted_by(|one, next| one < next), "the ids do not ascend");
        let within = |id: &i64| (spec.ids.first()..=spec.ids.last()).contains(id);
        assert!(rows.ids.iter().all(within), "an id beyond the range");
        for (column, shares) in spec.layout.shares().iter().zip(&rows.shares) {
            assert_eq!(shares.len(), rows.len() * column.len, "shares of {}", column.name);
        }
        match opened.verify_digest() {
            Ok(()) => accepted = true,
            Err(error) => assert!(matches!(error.defect, ShareFileDefect::Digest { .. })),
        }
    }
    accepted
}
