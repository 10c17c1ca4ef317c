//! What must be nowhere, and the search for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// Byte strings, each with the name of the secret that it gives away.
#[derive(Default)]
pub(crate) struct Needles {
    /// By their first two bytes, so that one pass over a haystack finds all.
    by_begin: BTreeMap<[u8; 2], Vec<(String, Vec<u8>)>>,
}

impl Needles {
    /// Bytes as they are.
    pub(crate) fn add_raw(&mut self, name: &str, bytes: &[u8]) {
        assert!(bytes.len() >= 8, "{name}: so few bytes may be anywhere by chance");
        let begin = [bytes[0], bytes[1]];
        self.by_begin.entry(begin).or_default().push((name.to_owned(), bytes.to_vec()));
    }

    /// A binary secret in every form in which it may be printed.
    pub(crate) fn add_secret(&mut self, name: &str, bytes: &[u8]) {
        let hex = hex::encode(bytes);
        let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        let printed = [
            hex.to_uppercase(),
            hex,
            decimal.join(", "),
            STANDARD.encode(bytes),
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ];
        self.add_raw(name, bytes);
        self.add_raw(name, &reversed);
        printed.iter().for_each(|text| self.add_raw(name, text.as_bytes()));
    }

    /// The name of the first secret in some bytes.
    pub(crate) fn found_in(&self, haystack: &[u8]) -> Option<&str> {
        let mut begins = vec![false; 1 << 16];
        for [low, high] in self.by_begin.keys() {
            begins[usize::from(u16::from_le_bytes([*low, *high]))] = true;
        }
        haystack.windows(2).enumerate().find_map(|(at, pair)| {
            let begin = [pair[0], pair[1]];
            if !begins[usize::from(u16::from_le_bytes(begin))] {
                return None;
            }
            let needles = self.by_begin.get(&begin)?;
            let found = needles.iter().find(|(_, needle)| haystack[at..].starts_with(needle));
            found.map(|(name, _)| name.as_str())
        })
    }

    /// What is found in all files below a directory but those `kept` for secrets, and how many
    /// bytes were searched.
    pub(crate) fn found_below(&self, directory: &Path, kept: &[PathBuf]) -> (Vec<String>, u64) {
        let (mut found, mut searched) = (Vec::new(), 0);
        for entry in std::fs::read_dir(directory).expect("readable") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("its metadata");
            if kept.contains(&path) {
                continue;
            }
            if metadata.is_dir() {
                let (more, bytes) = self.found_below(&path, kept);
                found.extend(more);
                searched += bytes;
            } else if metadata.is_file() {
                let bytes = std::fs::read(&path).expect("readable");
                searched += bytes.len() as u64;
                found.extend(self.found_in(&bytes).map(|name| format!("{name} in {path:?}")));
            }
        }
        (found, searched)
    }
}

#[test]
fn a_planted_secret_is_found_in_every_form() {
    let secret: Vec<u8> = (0..32).map(|n| n * 7 + 3).collect();
    let mut needles = Needles::default();
    needles.add_secret("the key", &secret);
    let forms = [
        secret.clone(),
        hex::encode(&secret).into_bytes(),
        hex::encode_upper(&secret).into_bytes(),
        STANDARD.encode(&secret).into_bytes(),
        format!("{secret:?}").into_bytes(),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("deep")).expect("a directory");
    let path = directory.path().join("deep/file");
    for form in forms {
        let planted = [&b"before"[..], &form, b"after"].concat();
        std::fs::write(&path, &planted).expect("written");
        let (found, searched) = needles.found_below(directory.path(), &[]);
        assert_eq!((found.len(), searched), (1, planted.len() as u64));
        assert_eq!(needles.found_below(directory.path(), std::slice::from_ref(&path)), (vec![], 0));
        let last = planted.len() - b"after".len() - 2;
        assert_eq!(needles.found_in(&planted[..last]), None);
    }
}
