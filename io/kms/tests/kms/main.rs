//! Agreement keys in KMS: against LocalStack, and against a stub where LocalStack is too lenient.

mod agreeing;
mod refusals;
mod support;
