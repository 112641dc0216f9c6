use super::*;

fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().unwrap()
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header
}

/// The name field as it is, which the library would refuse to write.
fn named(mut header: tar::Header, name: &str) -> tar::Header {
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header
}

fn all(bytes: &[u8]) -> Result<Vec<(String, bool, String)>, Failure> {
    let mut found = Vec::new();
    read(&mut &*bytes, &mut |path, executable, content| {
        let mut text = String::new();
        content.read_to_string(&mut text).unwrap();
        found.push((path.to_owned(), executable, text));
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn files_come_with_path_mode_and_content() {
    let bytes = archive(|builder| {
        builder
            .append(&named(header(tar::EntryType::Directory, 0, 0o755), "./src/"), std::io::empty())
            .unwrap();
        builder.append(&named(header(tar::EntryType::Regular, 2, 0o644), "./src/a.py"), &b"ab"[..]).unwrap();
        builder.append(&named(header(tar::EntryType::Regular, 1, 0o755), "run"), &b"c"[..]).unwrap();
    });
    let expected = [("src/a.py", false, "ab"), ("run", true, "c")];
    assert_eq!(all(&bytes).unwrap(), expected.map(|(p, x, c)| (p.to_owned(), x, c.to_owned())));
}

#[test]
fn what_could_reach_outside_is_refused() {
    for (kind, name) in [
        (tar::EntryType::Regular, "../a"),
        (tar::EntryType::Regular, "/etc/a"),
        (tar::EntryType::Regular, "a/../../b"),
        (tar::EntryType::Symlink, "a"),
        (tar::EntryType::Link, "a"),
        (tar::EntryType::Char, "a"),
        (tar::EntryType::Fifo, "a"),
    ] {
        let bytes = archive(|builder| {
            builder.append(&named(header(kind, 0, 0o644), name), std::io::empty()).unwrap()
        });
        let failure = all(&bytes).unwrap_err();
        assert!(failure.message.contains(name), "{failure}");
    }
}

#[test]
fn a_cut_archive_is_an_error() {
    let bytes = archive(|builder| {
        builder.append(&named(header(tar::EntryType::Regular, 2000, 0o644), "a"), &[7_u8; 2000][..]).unwrap();
    });
    let mut found = 0;
    let result = read(&mut &bytes[..1000], &mut |_, _, content| {
        found += 1;
        content.read_to_end(&mut Vec::new()).map(|_| ()).map_err(|e| Failure::new(Code::Data, e.to_string()))
    });
    assert!(result.is_err() && found == 1, "{result:?}");
}
