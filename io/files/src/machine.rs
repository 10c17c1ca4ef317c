//! The machine that this process runs on.

use std::path::Path;

use super::input_file::read_input;

/// The id that the operating system has given to this installation; `None` where it has none, as in
/// many containers.
///
/// It is that of `machine-id(5)`: 128 random bits, made when the system was installed, the same
/// after every start. It does not belong outside of the machine, so store only a digest of it.
#[must_use]
pub fn machine_id() -> Option<String> {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"].into_iter().find_map(|path| read(path.as_ref()))
}

fn read(path: &Path) -> Option<String> {
    let text = String::from_utf8(read_input(path, MAX_BYTES).ok()?).ok()?;
    let id = text.trim_end();
    // It is `uninitialized` before the first start, and empty in an image for many machines.
    let is_id = id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && id.bytes().any(|byte| byte != b'0')).then(|| id.to_ascii_lowercase())
}

const DIGITS: usize = 32;
const MAX_BYTES: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_32_digits_and_anything_else_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("machine-id");
        assert_eq!(read(&path), None);
        let id = "0123456789abcdef0123456789abcdef";
        for (text, expected) in [
            (format!("{id}\n"), Some(id)),
            (id.to_ascii_uppercase(), Some(id)),
            (String::new(), None),
            ("uninitialized\n".to_owned(), None),
            ("0".repeat(32), None),
            (format!("{id}0"), None),
            (id.repeat(3), None),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path).as_deref(), expected);
        }
    }
}
