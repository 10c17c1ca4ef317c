//! The ledger: what it admits, what it survives, what it refuses.

mod damage;
mod rows;

mod support;
