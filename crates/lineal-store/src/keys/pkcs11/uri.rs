//! `pkcs11:` URIs (RFC 7512), as far as they name one key in one token.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Pkcs11Error;

/// Longest URI in bytes.
const URI_LIMIT_BYTES: usize = 4096;
/// What a file's address may begin with in `pin-source`.
const FILE_SCHEME: &str = "file:";

/// `pkcs11:token=T;object=O?module-path=M&pin-source=P`: the key called O (or with `id`) in the token T (and `serial`)
/// of the module M; the PIN is the content of the file P. A PIN itself (`pin-value`) is refused: settings are no place
/// for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Uri {
    /// The library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The token's serial number, where labels are not unique.
    pub serial: Option<String>,
    /// The key's label.
    pub object: Option<String>,
    /// The key's id.
    pub id: Option<Vec<u8>>,
    /// The file with the PIN, which only its owner can read.
    pub pin_file: PathBuf,
}

impl Pkcs11Uri {
    /// What people call the key.
    pub fn key(&self) -> String {
        match (&self.object, &self.id) {
            (Some(object), _) => object.clone(),
            (None, Some(id)) => format!("id {}", hex::encode(id)),
            (None, None) => String::new(),
        }
    }
}

impl FromStr for Pkcs11Uri {
    type Err = Pkcs11Error;

    fn from_str(text: &str) -> Result<Self, Pkcs11Error> {
        let error = |reason: String| Pkcs11Error::Uri { uri: shown(text), reason };
        if text.len() > URI_LIMIT_BYTES {
            return Err(error(format!("longer than {URI_LIMIT_BYTES} bytes")));
        }
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| error("expected `pkcs11:`".to_owned()))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut module, mut token, mut serial, mut object, mut id, mut pin) =
            (None, None, None, None, None, None);
        for part in path.split(';').chain(query.split('&')).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| error("expected NAME=VALUE parts".to_owned()))?;
            let place = match name {
                "module-path" => &mut module,
                "token" => &mut token,
                "serial" => &mut serial,
                "object" => &mut object,
                "id" => &mut id,
                "pin-source" => &mut pin,
                "type" if value == "private" => continue,
                "pin-value" => {
                    return Err(error("put the PIN into a file and name it with `pin-source`".to_owned()));
                }
                other => return Err(error(format!("`{other}` is not understood"))),
            };
            let decoded = decode(value).ok_or_else(|| error(format!("`{name}` has a wrong %-escape")))?;
            if decoded.is_empty() || place.replace(decoded).is_some() {
                return Err(error(format!("`{name}` is empty or there twice")));
            }
        }
        if object.is_none() && id.is_none() {
            return Err(error("`object` or `id` must name the key".to_owned()));
        }
        let utf8 = |name: &str, bytes: Option<Vec<u8>>| {
            let text = bytes.map(String::from_utf8).transpose();
            text.map_err(|_| error(format!("`{name}` is not UTF-8")))
        };
        let needed = |name: &str, bytes: Option<Vec<u8>>| {
            utf8(name, bytes)?.ok_or_else(|| error(format!("`{name}` is missing")))
        };
        let pin = needed("pin-source", pin)?;
        Ok(Self {
            module: needed("module-path", module)?.into(),
            token: needed("token", token)?,
            serial: utf8("serial", serial)?,
            object: utf8("object", object)?,
            id,
            pin_file: pin.strip_prefix(FILE_SCHEME).unwrap_or(&pin).into(),
        })
    }
}

impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key `{}` in token `{}`", self.key(), self.token)
    }
}

/// What of a wrong URI may be shown: never the PIN that someone wrote into it.
fn shown(text: &str) -> String {
    let hidden = text.split_once("pin-value").map_or(text, |(before, _)| before);
    hidden.chars().take(200).collect()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            decoded.push(*hex::decode(digits).ok()?.first()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests;
