//! Certificates, signatures and approvals, with certificates made by stock `openssl`.

mod approvals;
mod certificates;
mod interrupted;
mod openssl;
mod package;
mod part_record;
mod pipeline;
mod records;
mod support;
