//! Runs the line of docs/format.md that maps a column with NumPy.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reshare_engine::layout::RowLayout;
use reshare_format::share_file::Kind;

use crate::common::*;

const FORMAT: &str = include_str!("../../../../docs/format.md");

fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let default = root.join("target/python-env/bin/python");
    let python = std::env::var_os("RESHARE_PYTHON").map_or(default, PathBuf::from);
    assert!(python.is_file(), "{} is missing: run `make setup`", python.display());
    python
}

/// The only line of the documentation that calls `numpy.memmap`.
fn documented_line() -> &'static str {
    let mut lines = FORMAT.lines().filter(|line| line.contains("= numpy.memmap("));
    let line = lines.next().expect("docs/format.md shows a line with numpy.memmap");
    assert_eq!(lines.next(), None, "docs/format.md shows more than one line with numpy.memmap");
    line.trim()
}

#[test]
fn the_documented_numpy_line_maps_a_share_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.share");
    let iris = Arc::new(RowLayout::iris());
    let batch = rows_of(&iris, &[1, 5, 9], false);
    let spec = spec(Kind::Plain, &iris, range(1, 9), 3);
    write_share_file(&path, &spec, &batch.rows());
    for (place, column) in iris.shares().iter().enumerate() {
        // One agree column comes first in the table.
        let script = format!(
            "import numpy, struct, sys\n\
             path = sys.argv[1]\n\
             header = open(path, 'rb').read(4096)\n\
             rows, = struct.unpack_from('<Q', header, 88)\n\
             place = header[256 + 96 * {table}:][:96]\n\
             name = place[:64].rstrip(bytes(1)).decode()\n\
             length, offset = struct.unpack_from('<IQ', place, 68)\n\
             {line}\n\
             assert column.shape == (rows, length) == (3, {len}) and name == '{name}', name\n\
             sys.stdout.buffer.write(column.tobytes())\n",
            table = place + 1,
            line = documented_line(),
            len = column.len,
            name = column.name,
        );
        let out = Command::new(python()).arg("-c").arg(script).arg(&path).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let expected: &[u8] = bytemuck::cast_slice(batch.rows().shares[place]);
        assert!(out.stdout == expected, "column {}", column.name);
    }
}

#[test]
fn an_independent_reader_finds_checksum_and_digest_as_documented() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.share");
    let layout = small_layout();
    let batch = rows_of(&layout, &[-3, 0, 9], true);
    let spec = spec(Kind::Blinded, &layout, range(-3, 9), 3);
    let digest = write_share_file(&path, &spec, &batch.rows());
    let script = "import blake3, sys\n\
         data = open(sys.argv[1], 'rb').read()\n\
         header = data[:192] + bytes(32) + data[224:4096]\n\
         assert blake3.blake3(header).digest() == data[192:224]\n\
         assert blake3.blake3(data[4096:]).digest() == data[160:192]\n\
         assert data[:8] == b'reshare\\0' and data[32:64] == bytes([7]) * 32\n\
         print(data[160:192].hex())\n";
    let out = Command::new(python()).arg("-c").arg(script).arg(&path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), digest.to_hex().as_str());
}
