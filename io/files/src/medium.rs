//! Whether a directory for removable media has a medium.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where media are mounted, by custom.
const PLACES: [&str; 3] = ["/media", "/mnt", "/run/media"];

/// The directory for media that `path` is below, if nothing is mounted there or between: what is
/// written to it fills the disk of the system.
///
/// `None` too where the mounts cannot be found out.
#[must_use]
pub fn unmounted_medium(path: &Path) -> Option<PathBuf> {
    let path = real(path)?;
    let mounts = mount_points(&fs::read("/proc/self/mountinfo").ok()?);
    unmounted(&path, &mounts)
}

fn unmounted(path: &Path, mounts: &[PathBuf]) -> Option<PathBuf> {
    let place = PLACES.into_iter().map(Path::new).find(|place| path.starts_with(place))?;
    let is_mounted = mounts.iter().any(|mount| mount.starts_with(place) && path.starts_with(mount));
    (!is_mounted).then(|| place.to_owned())
}

/// The path without links, of which the last names need not exist.
fn real(path: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(path).ok()?;
    let known =
        whole.ancestors().find_map(|ancestor| Some((fs::canonicalize(ancestor).ok()?, ancestor)));
    let (real, ancestor) = known?;
    Some(real.join(whole.strip_prefix(ancestor).ok()?))
}

/// The mount points of `/proc/self/mountinfo`: the fifth field of each line, with escapes in octal
/// digits.
fn mount_points(text: &[u8]) -> Vec<PathBuf> {
    let fields = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| std::ffi::OsString::from_vec(unescaped(field)).into()).collect()
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(field.len()), field);
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
            .filter(|_| *first == b'\\')
        {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        23 22 8:17 / /media/op/My\\040Stick rw - vfat /dev/sdb1 rw\n\
        24 22 0:5 / /run rw - tmpfs tmpfs rw\n";

    #[test]
    fn only_what_is_below_a_mounted_medium_is_on_it() {
        let mounts = mount_points(MOUNTS);
        let of = |path: &str| unmounted(Path::new(path), &mounts);
        assert_eq!(of("/media/op/My Stick/party0"), None);
        assert_eq!(of("/media/op/Other/party0"), Some("/media".into()));
        assert_eq!(of("/mnt/party0"), Some("/mnt".into()));
        // `/run` is a mount, and no medium.
        assert_eq!(of("/run/media/op/stick/party0"), Some("/run/media".into()));
        assert_eq!(of("/home/op/media/party0"), None);
        assert_eq!(of("/mntx/party0"), None);
    }

    #[test]
    fn a_link_to_a_place_for_media_is_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let link = directory.path().join("stick");
        std::os::unix::fs::symlink("/mnt", &link).expect("a link");
        assert_eq!(real(&link.join("a/b")), Some("/mnt/a/b".into()));
    }
}
