//! The two ways to write a connection down, as libpq reads them: a URL, and `name=value` words.
//!
//! # Secrecy
//! No reason quotes a value: a password that was not encoded may be anywhere.

use zeroize::Zeroizing;

use super::given::Given;

/// Reads a URL or `name=value` words into `given`.
///
/// A final line end is not part of it: files and mounted secrets have one.
pub(super) fn read_conninfo(text: &str, given: &mut Given) -> Result<(), String> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.chars().any(char::is_control) {
        return Err("it has a control character, such as a line end, in it".into());
    }
    let url = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    match url {
        Some(rest) => read_url(rest, given),
        None if text.contains("://") || !text.contains('=') => Err("it does not begin with \
             postgres:// or postgresql://, and is not of the form host=... dbname=..."
            .into()),
        None => read_words(text, given),
    }
}

/// `[user[:password]@][host[:port],...][/database][?name=value&...]`
fn read_url(rest: &str, given: &mut Given) -> Result<(), String> {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let after = &rest[authority.len()..];
    // Otherwise the end of a password would be taken for a database name and shown.
    if after.contains(['@', '#']) || authority.matches('@').count() > 1 {
        return Err(
            "'@', '/', '?' and '#' within a name or a password must be percent-encoded".into()
        );
    }
    let hosts = match authority.split_once('@') {
        None => authority,
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)));
            given.add_nonempty("user", &decoded(user, "the user name")?)?;
            if let Some(password) = password {
                given.add_nonempty("password", &decoded(password, "the password")?)?;
            }
            hosts
        }
    };
    read_hosts(hosts, given)?;
    let (path, query) = after.split_once('?').map_or((after, None), |(p, q)| (p, Some(q)));
    let database = path.strip_prefix('/').unwrap_or(path);
    given.add_nonempty("dbname", &decoded(database, "the database name")?)?;
    // Before an `@` that is missing, the end of a password may look like a name.
    let may_name = authority.contains('@') || !authority.contains(':');
    query.map_or(Ok(()), |query| read_parameters(query, may_name, given))
}

fn read_hosts(text: &str, given: &mut Given) -> Result<(), String> {
    let (mut hosts, mut ports) = (vec![], vec![]);
    for place in text.split(',') {
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("a '[' has no ']' after it")?;
                let port = match port {
                    "" => "",
                    port => {
                        port.strip_prefix(':').ok_or("after ']' there is neither ':' nor '/'")?
                    }
                };
                (host, port)
            }
            None => place.split_once(':').unwrap_or((place, "")),
        };
        if port.contains(':') {
            return Err("an IPv6 address must be in square brackets, as in [::1]:5432".into());
        }
        let host = decoded(host, "a host")?;
        if host.contains(',') {
            return Err("a host has a comma in it".into());
        }
        hosts.push(host.to_string());
        ports.push(decoded(port, "a port")?.to_string());
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        given.add("host", &hosts.join(","))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        given.add("port", &ports.join(","))?;
    }
    Ok(())
}

fn read_parameters(query: &str, may_name: bool, given: &mut Given) -> Result<(), String> {
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) =
            parameter.split_once('=').ok_or("a parameter has no '=' after its name")?;
        if value.contains('=') {
            return Err("a parameter has a second '=': as part of its value it is %3D".into());
        }
        let name = decoded(name, "the name of a parameter")?;
        // What JDBC calls it, as in libpq.
        let (name, value) = match (name.as_str(), value) {
            ("ssl", "true") => ("sslmode", "require"),
            (name, value) => (name, value),
        };
        if super::libpq::setting(name).is_none() {
            return Err(unknown("parameter", name, may_name));
        }
        given.add(name, &decoded(value, "the value of a parameter")?)?;
    }
    Ok(())
}

/// `name=value name='value with \' and spaces'`
fn read_words(text: &str, given: &mut Given) -> Result<(), String> {
    let mut rest = text.trim_start();
    let mut may_name = true;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(|| {
            "a word has no '=': a value with a space must be in single quotes".to_owned()
        })?;
        let name = name.trim_end();
        if super::libpq::setting(name).is_none() {
            return Err(unknown("setting", name, may_name));
        }
        let (value, end) = word_value(after.trim_start())?;
        given.add(name, &value)?;
        may_name &= name != "password" && name != "sslpassword";
        rest = end.trim_start();
    }
    Ok(())
}

fn word_value(text: &str) -> Result<(Zeroizing<String>, &str), String> {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let quoted = text.strip_prefix('\'');
    let mut characters = quoted.unwrap_or(text).char_indices();
    let body = quoted.unwrap_or(text);
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            ' ' | '\t' if quoted.is_none() => return Ok((value, &body[at..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            character => value.push(character),
        }
    }
    if quoted.is_some() {
        return Err("a single quote is not closed".into());
    }
    Ok((value, ""))
}

fn unknown(what: &str, name: &str, may_name: bool) -> String {
    let is_plain = name.len() <= 40
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if may_name && is_plain && !name.is_empty() {
        return format!("libpq knows no {what} {name}");
    }
    format!(
        "it has an unknown {what}: a password with '&', '=' or a space must be encoded or quoted"
    )
}

/// Percent-decodes. A `+` is a plus sign, as in libpq.
fn decoded(text: &str, what: &str) -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        match digit(rest.next()).zip(digit(rest.next())) {
            Some((high, low)) if high * 16 + low > 0 => bytes.push((high * 16 + low) as u8),
            _ => {
                return Err(format!(
                    "{what} has a '%' that is not followed by two digits of a byte"
                ));
            }
        }
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{what} is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}
