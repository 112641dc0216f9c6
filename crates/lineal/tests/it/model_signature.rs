//! OpenSSF Model Signing: ours verified by the `model_signing` tool, the tool's by us, forged ones by nobody.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::model::{Model, text};
use crate::peers;
use crate::project::Project;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// A key pair by OpenSSL and a folder without a project.
struct Signer {
    world: Project,
}

impl Signer {
    fn new() -> Self {
        let world = Project::absent();
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).current_dir(world.root()).output();
            let output = output.expect("openssl is on the path");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem"]);
        openssl(&["ec", "-in", "key.pem", "-pubout", "-out", "key.pub"]);
        Self { world }
    }

    fn key(&self) -> PathBuf {
        self.world.path("key.pem")
    }

    fn public(&self) -> PathBuf {
        self.world.path("key.pub")
    }

    /// A model whose names sort differently by code point and by component.
    fn model(&self, name: &str) -> PathBuf {
        for (path, content) in [
            ("d/x", "1"),
            ("d-x", "2"),
            ("big.bin", &"weights ".repeat(9)),
            ("empty", ""),
            ("with space é.json", "{}"),
            (".hidden", "3"),
            ("d/.git", "4"),
            (".git/config", "not signed"),
            (".gitignore", "not signed"),
        ] {
            self.world.write(&format!("{name}/{path}"), content);
        }
        self.world.path(name)
    }

    fn arguments<'a>(&self, model: &'a str, signature: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let arguments = ["model", "verify", model, "--signature", signature, "--key", "key.pub"];
        arguments.iter().chain(more).copied().collect()
    }

    #[track_caller]
    fn verifies(&self, model: &str, signature: &str, more: &[&str]) -> Value {
        let checked = self.world.json(&self.arguments(model, signature, more));
        assert_eq!(checked["verified"], true, "{checked:#}");
        checked
    }

    #[track_caller]
    fn refuses(&self, model: &str, signature: &str, exit: i32, code: &str, fragments: &[&str]) {
        self.world.fails(&self.arguments(model, signature, &[]), exit, code, fragments);
    }

    /// Signs with the library; see `peers.py`.
    fn sign(&self, model: &Path, signature: &str, options: &Value) {
        let (key, signature) = (self.key(), self.world.path(signature));
        let paths = [&key, &model.to_owned(), &signature].map(|path| path.to_str().unwrap().to_owned());
        peers::ask(&["sign_model", &paths[0], &paths[1], &paths[2], &options.to_string()]);
    }
}

/// A registered model, its files in `copy/` and the builder's key in `builder.pub`.
fn signed_model() -> (Model, Value) {
    let model = Model::new();
    let project = &model.project;
    let pipeline = fs::read_to_string(project.path("pipeline.yaml")).unwrap();
    let more =
        "mkdir -p $LINEAL_OUT/model/d && echo 1 > $LINEAL_OUT/model/d/x && echo 2 > $LINEAL_OUT/model/d-x &&";
    project.write("pipeline.yaml", pipeline.replace("mkdir $LINEAL_OUT/model &&", more));
    let run = model.run(&[]);
    let registered = project.json(&["model", "register", "toy", "--run", &run]);
    let manifest: Value =
        serde_json::from_slice(&fs::read(project.blob(&registered["digest"])).unwrap()).unwrap();
    for file in manifest["files"].as_array().unwrap() {
        let blob = project.blob(&json!(format!("sha256:{}", text(&file["sha256"]))));
        project.write(&format!("copy/{}", text(&file["path"])), fs::read(blob).unwrap());
    }
    let keys = project.json(&["ledger", "keys"]);
    let builder = keys.as_array().unwrap().iter().find(|key| key["role"] == "builder").unwrap();
    project.write("builder.pub", text(&builder["public_key"]));
    let signed = project.json(&["model", "sign", "toy/1", "--out", "model.sig"]);
    (model, signed)
}

#[test]
fn what_we_sign_others_verify() {
    let (model, signed) = signed_model();
    let project = &model.project;
    assert_eq!((&signed["files"], &signed["unchanged"]), (&json!(4), &json!(false)));
    let (copy, signature, key) =
        (project.path("copy"), project.path("model.sig"), project.path("builder.pub"));
    assert!(peers::model_signing_verifies(&copy, &signature, &key));
    let log = fs::read_to_string(project.path(".lineal/keys/ledger.vkey")).unwrap();
    let verify = ["model", "verify", "copy", "--signature", "model.sig"];
    let ways: [&[&str]; 3] =
        [&["--project"], &["--key", "builder.pub"], &["--key", "builder.pub", "--ledger-key", log.trim()]];
    for (way, in_ledger) in ways.into_iter().zip([true, false, true]) {
        let checked = project.json(&[&verify, way].concat());
        assert_eq!(
            (&checked["verified"], checked["position"].is_u64()),
            (&json!(true), in_ledger),
            "{way:?}"
        );
        assert_eq!(checked["root"], signed["root"]);
    }
    // Signed again it is the same statement, under a later checkpoint.
    project.refuses(&["model", "sign", "toy/1", "--out", "model.sig"], 3, "taken", &["model.sig", "--force"]);
    let again = project.json(&["model", "sign", "toy/1", "--out", "model.sig", "--force"]);
    assert_eq!(again["unchanged"], true);
    let again = project.json(&["model", "sign", "toy/1", "--out", "again.sig"]);
    assert_eq!((&again["statement"], &again["unchanged"]), (&signed["statement"], &json!(true)));
    assert_eq!(project.count("model-signature"), 1);
    assert_eq!(project.json(&["verify", signed["statement"].as_str().unwrap()])["verified"], true);
    let before = project.ledger();
    project.json(&["ledger", "rebuild"]);
    assert_eq!(project.ledger(), before);

    let changes: [(&str, &dyn Fn()); 3] = [
        ("changed", &|| project.write("copy/d/x", "9")),
        ("missing", &|| fs::remove_file(project.path("copy/d/x")).unwrap()),
        ("extra", &|| project.write("copy/modeling_x.py", "import os")),
    ];
    for (word, change) in changes {
        change();
        for way in ways {
            project.fails(&[&verify, way].concat(), 5, "tampered", &["not what was signed", word]);
        }
        assert!(!peers::model_signing_verifies(&copy, &signature, &key), "{word}");
        project.write("copy/d/x", "1\n");
    }
    project.json(&[&verify[..], &["--project", "--ignore", "modeling_x.py"]].concat());
    // A signature outlives the log key that signed its checkpoint.
    project.json(&["ledger", "rotate", "--log"]);
    project.json(&[&verify[..], &["--project", "--ignore", "modeling_x.py"]].concat());
}

#[test]
fn a_signature_counts_only_by_the_key_and_ledger_that_was_asked_for() {
    let (model, _) = signed_model();
    let project = &model.project;
    let verify = ["model", "verify", "copy", "--signature", "model.sig"];
    let signer = Signer::new();
    project.write("other.pub", fs::read(signer.public()).unwrap());
    project.fails(
        &[&verify[..], &["--key", "other.pub"]].concat(),
        3,
        "key",
        &["not signed by a trusted key"],
    );
    let other = Project::new();
    let log = fs::read_to_string(other.path(".lineal/keys/ledger.vkey")).unwrap();
    let arguments = [&verify[..], &["--key", "builder.pub", "--ledger-key", log.trim()]].concat();
    project.fails(&arguments, 3, "key", &["not signed by a trusted key"]);
    // Another project does not know the key, whoever holds the file.
    for name in ["model.sig", "copy/d/x"] {
        other.write(name, fs::read(project.path(name)).unwrap());
    }
    other.fails(&[&verify[..], &["--project"]].concat(), 3, "key", &["not signed by a trusted key"]);
    // A statement of another kind by the right key is no model signature.
    let version = project.ledger().as_array().unwrap().iter().find(|e| e["noun"] == "model-version").cloned();
    let proof = project.lineal(&["ledger", "proof", version.unwrap()["statement"].as_str().unwrap()]);
    project.write("version.sig", proof.stdout.trim());
    let arguments = ["model", "verify", "copy", "--signature", "version.sig", "--project"];
    project.fails(&arguments, 3, "signature-invalid", &["not a model signature"]);
    // Without its ledger entry it proves nothing to the project.
    let mut bundle: Value = serde_json::from_slice(&fs::read(project.path("model.sig")).unwrap()).unwrap();
    bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    project.write("bare.sig", bundle.to_string());
    let arguments = ["model", "verify", "copy", "--signature", "bare.sig"];
    project.fails(&[&arguments[..], &["--project"]].concat(), 1, "not-verified", &["no ledger entry"]);
    project.json(&[&arguments[..], &["--key", "builder.pub"]].concat());
}

#[test]
fn what_others_sign_we_verify() {
    let signer = Signer::new();
    let model = signer.model("m");
    peers::model_signing_signs(&model, &model.join("model.sig"), &signer.key());
    let checked = signer.verifies("m", "m/model.sig", &[]);
    // All but git's files at the top and the signature.
    assert_eq!((&checked["files"], &checked["position"]), (&json!(7), &Value::Null));
    // Only the signature at hand is no part of the model, whatever the signer left out.
    fs::copy(model.join("model.sig"), signer.world.path("moved.sig")).unwrap();
    signer.refuses("m", "moved.sig", 5, "tampered", &["`model.sig` is extra"]);
    fs::write(model.join("d/x"), "9").unwrap();
    signer.refuses("m", "m/model.sig", 5, "tampered", &["`d/x` is changed"]);

    signer.model("m");
    peers::model_signing_signs(&model, &signer.world.path("beside.sig"), &signer.key());
    // To this signature the one within is a file like any other.
    signer.verifies("m", "beside.sig", &[]);
    fs::remove_file(model.join("model.sig")).unwrap();
    signer.refuses("m", "beside.sig", 5, "tampered", &["`model.sig` is missing"]);

    signer.world.write("one.bin", "weights");
    peers::model_signing_signs(&signer.world.path("one.bin"), &signer.world.path("one.sig"), &signer.key());
    signer.verifies("one.bin", "one.sig", &[]);
    signer.world.write("one.bin", "other");
    signer.refuses("one.bin", "one.sig", 5, "tampered", &["changed"]);
    signer.refuses("m", "one.sig", 5, "tampered", &["missing"]);
}

#[test]
fn files_signed_in_parts_are_verified() {
    let signer = Signer::new();
    let model = signer.model("m");
    // The format has no way to sign an empty file in parts.
    fs::remove_file(model.join("empty")).unwrap();
    signer.sign(&model, "parts.sig", &json!({"shard_size": 10}));
    signer.verifies("m", "parts.sig", &[]);
    fs::write(model.join("big.bin"), "weights ".repeat(10)).unwrap();
    signer.refuses("m", "parts.sig", 5, "tampered", &["`big.bin` is changed"]);
    signer.model("m");
    signer.refuses("m", "parts.sig", 5, "tampered", &["`empty` is extra"]);
    signer.verifies("m", "parts.sig", &["--ignore", "empty"]);
}

#[test]
fn links_and_ignored_files_count_only_by_the_verifiers_word() {
    let signer = Signer::new();
    let model = signer.model("m");
    symlink("big.bin", model.join("link.bin")).unwrap();
    signer.sign(&model, "links.sig", &json!({"allow_symlinks": true}));
    signer.refuses("m", "links.sig", 3, "signature-invalid", &["symbolic links"]);
    signer.verifies("m", "links.sig", &["--allow-links-inside"]);
    // The same bytes, but outside.
    signer.world.write("outside.bin", "weights ".repeat(9));
    fs::remove_file(model.join("link.bin")).unwrap();
    symlink("../outside.bin", model.join("link.bin")).unwrap();
    let arguments = signer.arguments("m", "links.sig", &["--allow-links-inside"]);
    signer.world.fails(&arguments, 3, "data-unreadable", &["link.bin", "leads out of the tree"]);

    fs::remove_file(model.join("link.bin")).unwrap();
    signer.sign(&model, "plain.sig", &json!({}));
    symlink("big.bin", model.join("again.bin")).unwrap();
    signer.refuses("m", "plain.sig", 3, "data-unreadable", &["again.bin", "symbolic link"]);
    fs::remove_file(model.join("again.bin")).unwrap();

    signer.world.write("m/cache/x", "y");
    signer.sign(&model, "ignoring.sig", &json!({"ignore": ["cache"]}));
    signer.refuses("m", "ignoring.sig", 3, "signature-invalid", &["left out `cache`"]);
    signer.verifies("m", "ignoring.sig", &["--ignore", "cache"]);
    // Git's names are left out at the top only.
    signer.world.write("m/d/.gitignore", "x");
    let arguments = signer.arguments("m", "ignoring.sig", &["--ignore", "cache"]);
    signer.world.fails(&arguments, 5, "tampered", &["`d/.gitignore` is extra"]);
    for pattern in ["*", "../x", "/etc", "a/../b", ""] {
        let arguments = signer.arguments("m", "plain.sig", &["--ignore", pattern]);
        signer.world.fails(&arguments, 2, "usage", &["cannot be ignored"]);
    }
}

/// Forged statements by the right key: name, payload, and whether `model_signing` 1.1.1 accepts it.
fn forged() -> Vec<(&'static str, String, bool)> {
    let resource = |name: &str| json!({"name": name, "algorithm": "sha256", "digest": EMPTY});
    let make = |resources: &[Value], options: &[(&str, Value)]| {
        let mut serialization = json!({"method": "files", "hash_type": "sha256", "allow_symlinks": false});
        options.iter().for_each(|(key, value)| serialization[*key] = value.clone());
        let digests: Vec<u8> = resources.iter().flat_map(|r| bytes(r["digest"].as_str().unwrap())).collect();
        let root = lineal_facts::Digest::of(&digests).hex();
        json!({"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "f", "digest": {"sha256": root}}],
            "predicateType": PREDICATE, "predicate": {"resources": resources, "serialization": serialization}})
    };
    let good = make(&[resource("a"), resource("b")], &[]);
    let changed = |pointer: &str, value: Value| {
        let mut statement = good.clone();
        *statement.pointer_mut(pointer).unwrap() = value;
        statement.to_string()
    };
    let root = good["subject"][0]["digest"]["sha256"].clone();
    let twice = good.to_string().replacen(r#""name":"a""#, r#""name":"evil","name":"a""#, 1);
    vec![
        ("good", good.to_string(), true),
        ("duplicate-resource", make(&[resource("a"), resource("a"), resource("b")], &[]).to_string(), true),
        ("duplicate-key", twice, true),
        ("dot-name", make(&[resource("./a"), resource("b")], &[]).to_string(), true),
        ("double-slash", make(&[resource("a"), resource("b"), resource("d//x")], &[]).to_string(), false),
        ("parent", make(&[resource("../f/a"), resource("b")], &[]).to_string(), false),
        ("absolute", make(&[resource("/a"), resource("b")], &[]).to_string(), false),
        ("nul", make(&[resource("a"), resource("b\0")], &[]).to_string(), false),
        ("unsorted", make(&[resource("b"), resource("a")], &[]).to_string(), true),
        ("ignores", make(&[resource("a")], &[("ignore_paths", json!(["b"]))]).to_string(), true),
        ("ignores-all", make(&[resource("a")], &[("ignore_paths", json!(["."]))]).to_string(), false),
        (
            "links",
            make(&[resource("a"), resource("b")], &[("allow_symlinks", json!(true))]).to_string(),
            true,
        ),
        (
            "unknown-option",
            make(&[resource("a"), resource("b")], &[("globs", json!(["*"]))]).to_string(),
            true,
        ),
        ("md5-beside", changed("/subject/0/digest", json!({"md5": "00", "sha256": root})), true),
        ("md5-only", changed("/subject/0/digest", json!({"md5": root})), false),
        ("resource-md5", changed("/predicate/resources/0/algorithm", json!("md5")), false),
        ("hash-type-md5", changed("/predicate/serialization/hash_type", json!("md5")), false),
        ("other-root", changed("/subject/0/digest/sha256", json!(EMPTY.replace('e', "f"))), false),
        ("old-predicate", changed("/predicateType", json!("https://model_signing/Digests/v0.1")), false),
        ("other-statement", changed("/_type", json!("https://in-toto.io/Statement/v0.1")), false),
    ]
}

#[test]
fn forged_statements_are_refused_whatever_the_tool_says() {
    let signer = Signer::new();
    for file in ["f/a", "f/b"] {
        signer.world.write(file, "");
    }
    let forged = forged();
    for (name, payload, _) in &forged {
        signer.world.write(&format!("forged/{name}.json"), payload);
    }
    let (key, folder) = (signer.key(), signer.world.path("forged"));
    peers::ask(&["sign_bytes", key.to_str().unwrap(), folder.to_str().unwrap()]);
    let place = |name: &str| folder.join(format!("{name}.sig"));
    let pairs: Vec<Value> =
        forged.iter().map(|(name, ..)| json!([signer.world.path("f"), place(name)])).collect();
    let tool = peers::ask(&["accepted", signer.public().to_str().unwrap(), &json!(pairs).to_string()]);
    for (name, _, accepted) in &forged {
        assert_eq!(tool[place(name).to_str().unwrap()], *accepted, "model_signing about {name}");
        let signature = format!("forged/{name}.sig");
        if *name == "good" {
            signer.verifies("f", &signature, &[]);
        } else {
            signer.refuses("f", &signature, 3, "signature-invalid", &["the model signature is refused"]);
        }
    }
    // A hash that is not ours, honestly used.
    signer.sign(&signer.world.path("f"), "blake3.sig", &json!({"hashing_algorithm": "blake3"}));
    signer.refuses("f", "blake3.sig", 3, "signature-invalid", &["only SHA-256"]);
}

#[test]
fn damaged_signatures_are_refused() {
    let signer = Signer::new();
    let model = signer.model("m");
    peers::model_signing_signs(&model, &signer.world.path("good.sig"), &signer.key());
    let good: Value = serde_json::from_slice(&fs::read(signer.world.path("good.sig")).unwrap()).unwrap();
    let damaged = |pointer: &str, value: Value| {
        let mut bundle = good.clone();
        *bundle.pointer_mut(pointer).unwrap() = value;
        signer.world.write("bad.sig", bundle.to_string());
    };
    damaged("/dsseEnvelope/signatures/0/sig", json!("MEUCIQ=="));
    signer.refuses("m", "bad.sig", 5, "tampered", &["signature does not fit"]);
    damaged("/dsseEnvelope/payloadType", json!("text/plain"));
    signer.refuses("m", "bad.sig", 5, "tampered", &["signature does not fit"]);
    damaged("/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.1"));
    signer.refuses("m", "bad.sig", 3, "signature-invalid", &["media type"]);
    for content in ["", "{}", "not json", "[1]"] {
        signer.world.write("bad.sig", content);
        signer.refuses("m", "bad.sig", 3, "signature-invalid", &["cannot be read"]);
    }
    signer.refuses("m", "absent.sig", 3, "file", &["absent.sig"]);
    signer.refuses("absent", "good.sig", 3, "file", &["absent"]);
    let arguments = ["model", "verify", "m", "--signature", "good.sig", "--key", "key.pem"];
    signer.world.fails(&arguments, 3, "key", &["key.pem", "not a P-256 public key"]);
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_default();
    (0..hex.len() / 2).map(|at| digits(2 * at)).collect()
}
