//! Nothing leaks: keys, passwords and plain shares are in no output and in no file.

mod core_dumps;
mod logs;
mod needles;
mod openssl;
mod plain_shares;
