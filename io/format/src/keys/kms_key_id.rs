//! Names of keys in KMS.

use std::fmt;
use std::str::FromStr;

/// The longest name that KMS accepts, in bytes.
const MAX_BYTES: usize = 2048;

/// Names a key as AWS does: ARN of a key or an alias, key id, or `alias/NAME`.
///
/// Not a secret. Without an ARN, region and account come from the AWS environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KmsKeyId {
    text: String,
    region: Option<String>,
}

impl KmsKeyId {
    /// The name as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The region in an ARN: a key can only be used in its own region.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }
}

impl FromStr for KmsKeyId {
    type Err = KmsKeyIdError;

    fn from_str(text: &str) -> Result<Self, KmsKeyIdError> {
        let refused = |why| KmsKeyIdError { text: shown(text), why };
        if text.len() > MAX_BYTES {
            return Err(refused("it is too long"));
        }
        let region = if text.starts_with("arn:") {
            Some(region_of_arn(text).map_err(refused)?.to_owned())
        } else if is_key(text) || is_alias(text) {
            None
        } else {
            return Err(refused("neither an ARN nor a key id nor alias/NAME"));
        };
        Ok(Self { text: text.to_owned(), region })
    }
}

/// Reads `arn:PARTITION:kms:REGION:ACCOUNT:key/ID` or `...:alias/NAME`.
fn region_of_arn(text: &str) -> Result<&str, &'static str> {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let &[_, partition, service, region, account, resource] = fields.as_slice() else {
        return Err("an ARN has six fields: arn:aws:kms:REGION:ACCOUNT:key/ID");
    };
    if service != "kms" {
        return Err("this ARN is of another service than kms");
    }
    if ![partition, region].iter().all(|field| is_word(field)) {
        return Err("its partition or region is not as AWS writes them");
    }
    if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its account is not a number");
    }
    let is_resource = resource.strip_prefix("key/").is_some_and(is_key) || is_alias(resource);
    if is_resource { Ok(region) } else { Err("it ends neither in key/ID nor in alias/NAME") }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Key ids are UUIDs; those of multi-region keys begin with `mrk-`.
fn is_key(text: &str) -> bool {
    is_word(text) && text.len() >= 32
}

fn is_alias(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    let name = text.strip_prefix("alias/");
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(plain))
}

/// A name for an error message: shortened, and without control characters.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(120).collect()
}

impl fmt::Display for KmsKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text names no key in KMS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no key in KMS: {why}")]
pub struct KmsKeyIdError {
    text: String,
    why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn keys_are_named_as_aws_names_them() {
        let region = |text: String| {
            let id: KmsKeyId = text.parse().expect("a name");
            assert_eq!(id.to_string(), text);
            id.region().map(str::to_owned)
        };
        let west = Some("eu-west-1".to_owned());
        assert_eq!(region(format!("arn:aws:kms:eu-west-1:111122223333:key/{ID}")), west);
        assert_eq!(region("arn:aws:kms:eu-west-1:111122223333:alias/a/b-c_d".into()), west);
        let china = region(format!("arn:aws-cn:kms:cn-north-1:111122223333:key/{ID}"));
        assert_eq!(china.as_deref(), Some("cn-north-1"));
        assert_eq!(region(ID.into()), None);
        assert_eq!(region("mrk-1234abcd12ab34cd56ef1234567890ab".into()), None);
        assert_eq!(region("alias/sender".into()), None);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "sender.pem",
            "/keys/sender.pem",
            "alias/",
            "alias/a b",
            "arn:aws:kms:eu-west-1:111122223333",
            "arn:aws:s3:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms::111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu west:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:me:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:grant/1234abcd-12ab-34cd-56ef-1234567890ab",
        ] {
            assert!(text.parse::<KmsKeyId>().is_err(), "{text}");
        }
        assert!(format!("alias/{}", "a".repeat(3000)).parse::<KmsKeyId>().is_err());
    }
}
