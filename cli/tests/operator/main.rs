//! The program as operators run it, against a real PostgreSQL: every command, the tables that
//! iris-mpc makes, keys in KMS, and what the program promises.

mod compression;
mod everyday;
mod kms;
#[path = "../network/mod.rs"]
mod network;
mod promises;
mod receive;
mod tables;
mod transcripts;
mod tune;
#[path = "../network/way.rs"]
#[allow(dead_code, reason = "the crash tests use the rest of it")]
mod way;
