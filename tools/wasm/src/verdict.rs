//! What is wrong with a bundle, as a number. Tests compile this a second time, natively.

use lineal_proof::{Bundle, PublicKey, VerifierKey, VerifyError, bundle};

/// Checks a Sigstore bundle with the PEM key of its signer and, unless that is empty, the log's verifier key.
///
/// 0 means that it holds; otherwise 1 it cannot be read, 2 it was tampered with, 3 evidence is missing, 4 the key is not
/// trusted, 5 it is older than what was seen, 6 it is about something else, 7 a key cannot be read.
pub(crate) fn verdict(bundle: &[u8], key: &[u8], log: &[u8]) -> u32 {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or("not a key");
    let Ok(key) = PublicKey::from_pem(text(key)) else { return 7 };
    let logs: Result<Vec<VerifierKey>, _> =
        Some(text(log)).filter(|log| !log.is_empty()).into_iter().map(str::parse).collect();
    let Ok(logs) = logs else { return 7 };
    match Bundle::from_bytes(bundle).and_then(|bundle| bundle::verify(&bundle, &key, &logs, None)) {
        Ok(_) => 0,
        Err(VerifyError::Malformed(_)) => 1,
        Err(VerifyError::Tampered(_)) => 2,
        Err(VerifyError::Incomplete(_)) => 3,
        Err(VerifyError::UntrustedKey(_)) => 4,
        Err(VerifyError::Stale { .. }) => 5,
        Err(VerifyError::OtherSubject(_)) => 6,
    }
}
