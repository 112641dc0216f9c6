use super::*;

#[test]
fn known_vectors() {
    // FIPS 180-4 examples.
    assert_eq!(
        Digest::of(b"abc").to_string(),
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(Digest::of(b"").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn display_round_trips() {
    let digest = Digest::of(b"x");
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
}

#[test]
fn pieces_equal_whole() {
    let mut hasher = Hasher::default();
    hasher.update(b"a");
    hasher.update(b"bc");
    assert_eq!(hasher.finish(), Digest::of(b"abc"));
}

#[test]
fn refuses_other_spellings() {
    let hex = Digest::of(b"x").hex();
    for bad in
        ["", "sha256:", &hex, &format!("sha256:{}", hex.to_uppercase()), &format!("md5:{hex}"), "sha256:zz"]
    {
        assert!(bad.parse::<Digest>().is_err(), "{bad}");
    }
    assert!("sha256:".repeat(1000).parse::<Digest>().unwrap_err().to_string().len() < 200);
}
