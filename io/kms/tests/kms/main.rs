//! Agreement keys in KMS: against LocalStack, and against a stub for what LocalStack lets pass.

mod agreeing;
mod refusals;
mod support;
