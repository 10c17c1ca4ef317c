//! The ledger: what it admits, what it survives, what it refuses.

mod copies;
mod damage;
mod rows;

mod support;
