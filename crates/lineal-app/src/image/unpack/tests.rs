use std::collections::BTreeMap;
use std::io::Write as _;

use lineal_facts::json;
use tempfile::TempDir;

use super::super::directory::PathError;
use super::super::document::Manifest;
use super::*;

struct Fixture {
    folder: TempDir,
    blobs: BlobStore,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let blobs = BlobStore::open(&folder.path().join("blobs")).unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        Self { folder, blobs }
    }

    /// An image of one compressed layer.
    fn image(&self, layer: &[u8], stored: &[u8], suffix: &str) -> Image {
        let digest = self.blobs.put(stored).unwrap();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "config": {"digest": digest, "size": 1},
            "layers": [{
                "mediaType": format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
                "digest": digest,
                "size": stored.len(),
            }],
        });
        let configuration = serde_json::json!({
            "os": "linux",
            "architecture": super::super::document::architecture(),
            "rootfs": {"diff_ids": [Digest::of(layer)]},
        });
        let bytes = |value: &serde_json::Value| json::canonical(value).unwrap();
        let manifest = Manifest::read(&bytes(&manifest)).unwrap();
        Image::new(digest, manifest, &bytes(&configuration)).unwrap()
    }

    fn unpack(&self, image: &Image, limits: Limits) -> Result<(), String> {
        let root = self.folder.path().join("root");
        unpack(&self.blobs, image, &root, limits).map_err(|e| e.to_string())
    }
}

fn tar_of(files: &BTreeMap<&str, Vec<u8>>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o4755);
        header.set_mtime(1_735_689_600);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let size_bytes = 8 << 20;
    let limits = Limits { size_bytes: 1 << 20, ..Limits::default() };
    let in_file = tar_of(&[("a", vec![0; size_bytes])].into());
    // After the end of the tar file, where nothing is unpacked.
    let mut behind = tar_of(&[("a", vec![1])].into());
    behind.resize(size_bytes, 0);
    for layer in [in_file, behind] {
        let stored = [(gzip(&layer), "+gzip"), (zstd::encode_all(layer.as_slice(), 19).unwrap(), "+zstd")];
        for (stored, suffix) in stored {
            assert!(stored.len() < 1 << 16, "{} bytes", stored.len());
            let fixture = Fixture::new();
            let image = fixture.image(&layer, &stored, suffix);
            let error = fixture.unpack(&image, limits).unwrap_err();
            assert!(error.contains("its layers are larger than"), "{error}");
            let written =
                std::fs::metadata(fixture.folder.path().join("root/a")).map_or(0, |found| found.len());
            assert!(written <= 2 << 20, "{written} bytes were written");
            let fixture = Fixture::new();
            let image = fixture.image(&layer, &stored, suffix);
            fixture.unpack(&image, Limits { size_bytes: layer.len() as u64, ..limits }).unwrap();
        }
    }
}

#[test]
fn a_window_of_zstd_is_bounded() {
    let layer = tar_of(&[("a", vec![7; 4096])].into());
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(ZSTD_WINDOW_LIMIT_LOG + 1).unwrap();
    encoder.write_all(&layer).unwrap();
    let stored = encoder.finish().unwrap();
    let fixture = Fixture::new();
    let error = fixture.unpack(&fixture.image(&layer, &stored, "+zstd"), Limits::default()).unwrap_err();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn entries_are_counted() {
    let names: Vec<String> = (0..10).map(|n| format!("f{n}")).collect();
    let layer = tar_of(&names.iter().map(|name| (name.as_str(), Vec::new())).collect());
    for (entries, good) in [(9, false), (10, true)] {
        let fixture = Fixture::new();
        let image = fixture.image(&layer, &layer, "");
        let outcome = fixture.unpack(&image, Limits { entries, ..Limits::default() });
        assert_eq!(outcome.is_ok(), good, "{outcome:?}");
    }
}

#[test]
fn modes_and_times_are_kept_and_rights_of_owners_are_not() {
    use std::os::unix::fs::MetadataExt as _;
    let layer = tar_of(&[("deep/program", b"x".to_vec())].into());
    let fixture = Fixture::new();
    fixture.unpack(&fixture.image(&layer, &layer, ""), Limits::default()).unwrap();
    let found = std::fs::metadata(fixture.folder.path().join("root/deep/program")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime()), (0o755, 1_735_689_600));
}

#[test]
fn bytes_that_no_digest_covers_are_refused() {
    let layer = tar_of(&[("a", vec![1])].into());
    let mut longer = layer.clone();
    longer.extend([0; 512]);
    let fixture = Fixture::new();
    let error = fixture.unpack(&fixture.image(&layer, &longer, ""), Limits::default()).unwrap_err();
    assert!(error.contains("the content of a layer") && error.contains("is damaged"), "{error}");
    // A blob that is another one by now.
    let fixture = Fixture::new();
    let image = fixture.image(&layer, &layer, "");
    let path = fixture.blobs.path(&Digest::of(&layer));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &longer).unwrap();
    let error = fixture.unpack(&image, Limits::default()).unwrap_err();
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let parse = |path: &str| Target::parse(path.as_bytes(), PATH_LIMIT_BYTES);
    for root in ["", ".", "./", "././/"] {
        assert_eq!(parse(root), Ok(None), "{root}");
    }
    for (path, name) in
        [("a", "a"), ("./a", "a"), ("a/b", "b"), ("a//./b/", "b"), ("...", "..."), ("a/..b", "..b")]
    {
        assert_eq!(parse(path).unwrap().unwrap().name(), name.as_bytes(), "{path}");
    }
    for path in ["..", "../a", "a/..", "a/../b", "a/b/../../../c"] {
        assert_eq!(parse(path), Err(PathError::Parent), "{path}");
    }
    for path in ["/", "/a", "//a", "/.."] {
        assert_eq!(parse(path), Err(PathError::Absolute), "{path}");
    }
    for path in ["a\0b", &"a/".repeat(257), &"a".repeat(PATH_LIMIT_BYTES + 1)] {
        assert_eq!(parse(path), Err(PathError::Limit));
    }
}
