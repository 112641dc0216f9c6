//! The certificate by which pods know the operator's exchange, and its key.
//!
//! It is made once and kept as other keys are, because pods that run were told its digest. Its names and times mean
//! nothing: whoever connects compares the digest.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::{KeyError, Keys};

/// Two lines of base64: certificate and key.
const FILE: &str = "exchange.tls.pem";

/// A self-signed certificate and its key.
#[derive(Debug)]
pub struct ExchangeCertificate {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS #8, DER.
    pub key: Zeroizing<Vec<u8>>,
}

impl Keys {
    /// The exchange's certificate, made if it is not there.
    pub fn exchange_certificate(&self) -> Result<ExchangeCertificate, KeyError> {
        let path = self.secret_path(FILE);
        if !path.exists() {
            let made = rcgen::generate_simple_self_signed(vec!["lineal-exchange".to_owned()]);
            let made = made.map_err(|_| KeyError::Generation)?;
            let key = Zeroizing::new(made.signing_key.serialize_der());
            let certificate = BASE64_STANDARD.encode(made.cert.der());
            let text = Zeroizing::new(format!("{certificate}\n{}\n", BASE64_STANDARD.encode(key.as_slice())));
            self.write_secret(FILE, &text)?;
        }
        parse(&self.open_secret(&path)?, &path)
    }
}

fn parse(text: &str, path: &Path) -> Result<ExchangeCertificate, KeyError> {
    let format = || KeyError::Format(path.to_owned());
    let mut lines = text.lines().map(|line| BASE64_STANDARD.decode(line));
    match (lines.next(), lines.next(), lines.next()) {
        (Some(Ok(certificate)), Some(Ok(key)), None) => {
            Ok(ExchangeCertificate { certificate, key: Zeroizing::new(key) })
        }
        _ => Err(format()),
    }
}
