//! The connection to KMS in one region, configured by the AWS environment.

use std::time::Duration;

use aws_config::ConfigLoader;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Region;
use aws_sdk_kms::config::timeout::TimeoutConfig;

use super::error::KmsError;

/// The time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for one attempt. `AWS_MAX_ATTEMPTS` sets their number; the default is 3.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// The time limit for a request with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a client for the region of a key, or for the region the environment names.
///
/// # Errors
/// [`KmsError::NoRegion`] when neither the key nor the environment names a region.
pub(super) async fn connect(
    loader: ConfigLoader,
    key_region: Option<&str>,
) -> Result<Client, KmsError> {
    let key_region = key_region.map(|name| Region::new(name.to_owned()));
    let loader = match key_region.clone() {
        // Credentials are requested in the environment's region. If it names none, the key's
        // region is used instead of waiting for the machine's metadata service.
        Some(region) => loader.region(
            RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new())
                .or_else(region),
        ),
        None => loader,
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT);
    let shared = loader.timeout_config(timeouts.build()).load().await;
    let region = key_region.or_else(|| shared.region().cloned()).ok_or(KmsError::NoRegion)?;
    let config = aws_sdk_kms::config::Builder::from(&shared).region(region);
    Ok(Client::from_conf(config.build()))
}
