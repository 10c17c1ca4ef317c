//! Memory-mapped columnar files of rows.
