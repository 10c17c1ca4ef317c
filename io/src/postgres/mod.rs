//! Export, load and comparison of tables.
