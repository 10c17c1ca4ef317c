//! What is refused, between real processes on loopback: nothing is written, and both sides say
//! why. Certificates are made by `openssl`; who attacks uses `curl` and `openssl s_client`
//! where that is natural, and this program for the rest.

mod approvals;
mod attackers;
mod authority;
mod certificates;
mod evaluation_points;
mod ledger;
mod packages;
mod requests;
mod world;
