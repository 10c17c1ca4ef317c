//! The extensions of a certificate: its names and the purposes of its key.

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::CertificateError;
use super::name::CertificateName;

/// The URI and DNS names among a certificate's alternative names, as written there.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn names_in(certificate: &[u8]) -> Result<Vec<String>, CertificateError> {
    let parsed = parse(certificate)?;
    let names = alternative_names(&parsed)?;
    let texts = names.into_iter().filter_map(|name| match name {
        GeneralName::URI(text) | GeneralName::DNSName(text) => Some((*text).to_owned()),
        _ => None,
    });
    Ok(texts.collect())
}

/// Checks that exactly one alternative name of a certificate is this name, byte for byte and
/// of the same kind. The subject (CN) is ignored, and a wildcard matches nothing.
///
/// # Errors
/// [`CertificateError::OtherName`], or [`CertificateError::Malformed`].
pub fn matches_name(certificate: &[u8], name: &CertificateName) -> Result<(), CertificateError> {
    let parsed = parse(certificate)?;
    let equal = |found: &GeneralName<'_>| match (found, name) {
        (GeneralName::URI(found), CertificateName::Uri(name))
        | (GeneralName::DNSName(found), CertificateName::Dns(name)) => *found == name.as_str(),
        _ => false,
    };
    match alternative_names(&parsed)?.into_iter().filter(|found| equal(found)).count() {
        1 => Ok(()),
        _ => {
            let found = names_in(certificate)?;
            Err(CertificateError::OtherName { expected: name.clone(), found })
        }
    }
}

/// Parses one certificate with nothing after it.
pub(super) fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(CertificateError::Malformed),
    }
}

/// The last moment at which a certificate is valid.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn not_after(certificate: &[u8]) -> Result<OffsetDateTime, CertificateError> {
    Ok(parse(certificate)?.validity().not_after.to_datetime())
}

/// Whether the key usage is present and includes digitalSignature.
pub(super) fn may_sign(certificate: &[u8]) -> Result<bool, CertificateError> {
    let parsed = parse(certificate)?;
    let usage = parsed.key_usage().map_err(|_| CertificateError::Malformed)?;
    Ok(usage.is_some_and(|usage| usage.value.digital_signature()))
}

/// Whether the certificate may issue other certificates.
pub(super) fn is_authority(parsed: &X509Certificate<'_>) -> Result<bool, CertificateError> {
    let constraints = parsed.basic_constraints().map_err(|_| CertificateError::Malformed)?;
    Ok(constraints.is_some_and(|constraints| constraints.value.ca))
}

/// Whether an authority's certificate constrains URI names.
pub(super) fn constrains_uris(parsed: &X509Certificate<'_>) -> Result<bool, CertificateError> {
    let constraints = parsed.name_constraints().map_err(|_| CertificateError::Malformed)?;
    let Some(constraints) = constraints else { return Ok(false) };
    let (permitted, excluded) =
        (&constraints.value.permitted_subtrees, &constraints.value.excluded_subtrees);
    let mut subtrees = [permitted, excluded].into_iter().flatten().flatten();
    Ok(subtrees.any(|subtree| matches!(subtree.base, GeneralName::URI(_))))
}

/// Checks that a certificate is valid at a moment; both ends of its validity are included.
pub(super) fn check_time(
    parsed: &X509Certificate<'_>,
    at: OffsetDateTime,
) -> Result<(), CertificateError> {
    let not_before = parsed.validity().not_before.to_datetime();
    let not_after = parsed.validity().not_after.to_datetime();
    let at = at.replace_nanosecond(0).unwrap_or(at);
    if at < not_before {
        return Err(CertificateError::NotYetValid { not_before, at });
    }
    if at > not_after {
        return Err(CertificateError::Expired { not_after, at });
    }
    Ok(())
}

fn alternative_names<'a>(
    parsed: &'a X509Certificate<'_>,
) -> Result<Vec<&'a GeneralName<'a>>, CertificateError> {
    let extension = parsed.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
    Ok(extension.map_or_else(Vec::new, |extension| extension.value.general_names.iter().collect()))
}
