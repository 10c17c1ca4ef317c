//! A small disk.
