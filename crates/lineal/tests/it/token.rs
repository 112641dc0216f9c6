//! The builder key in a token: SoftHSM2 through PKCS #11.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lineal_blob::files;
use lineal_facts::predicate::KeyRole;
use lineal_store::Keys;

use crate::project::Project;

const PIN: &str = "27182818";
const ONE: &str = "params: {salt: 0}\nsteps: {a: {run: [sh, -c, 'cat $LINEAL_PARAMS > $LINEAL_OUT/o'], params: [salt], \
                   out: {o: o}}}\n";

/// A project beside a token `lineal` with the keys `first` and `second`.
struct Token {
    project: Project,
    folder: tempfile::TempDir,
}

impl Token {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("lineal-it-token-").tempdir().unwrap();
        let project = Project::with_pipeline(ONE);
        project.set_variable("SOFTHSM2_CONF", folder.path().join("softhsm2.conf"));
        let token = Self { project, folder };
        fs::create_dir(token.path("tokens")).unwrap();
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", token.path("tokens").display());
        fs::write(token.path("softhsm2.conf"), text).unwrap();
        files::replace(&token.path("pin"), PIN.as_bytes()).unwrap();
        token.tool(&["--init-token", "--free", "--label", "lineal", "--so-pin", "31415926"]);
        let keys = Keys::new(&token.path("keys"));
        for (label, id) in [("first", "01"), ("second", "02")] {
            keys.create(label, KeyRole::Builder).unwrap();
            let path = keys.path(label, KeyRole::Builder).display().to_string();
            token.tool(&["--import", &path, "--token", "lineal", "--label", label, "--id", id]);
        }
        token
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tool(&self, arguments: &[&str]) {
        let mut command = Command::new("softhsm2-util");
        command.args(arguments).args(["--pin", PIN]).env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        let done = command.output().expect("softhsm2 is installed; `cargo xtask setup` does that");
        assert!(done.status.success(), "{done:?}");
    }

    fn uri(&self, object: &str, module: &Path) -> String {
        let (module, pin) = (module.display(), self.path("pin"));
        format!("pkcs11:token=lineal;object={object}?module-path={module}&pin-source={}", pin.display())
    }

    /// Names the builder key in the settings.
    fn configure(&self, uri: &str) {
        let path = self.project.path(".lineal/config.toml");
        let text = fs::read_to_string(&path).unwrap();
        let settings = text.split("\n[signers]").next().unwrap();
        fs::write(path, format!("{settings}\n[signers]\nbuilder = \"{uri}\"\n")).unwrap();
    }
}

/// The library, beside the tool of the same package.
fn module() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap();
    let tool = std::env::split_paths(&paths).map(|folder| folder.join("softhsm2-util")).find(|p| p.exists());
    let tool = tool.expect("softhsm2 is installed; `cargo xtask setup` does that");
    tool.parent().unwrap().join("../lib/softhsm/libsofthsm2.so")
}

#[test]
fn the_builder_key_moves_into_a_token_and_on_to_another() {
    let token = Token::new();
    let project = &token.project;
    let before = project.run(&[]);
    let first = token.uri("first", &module());
    token.configure(&first);
    // Named, but not introduced: nothing is signed with it.
    let fragments = ["the builder key at hand", "lineal ledger rotate lineal builder"];
    project.refuses(&["run", "--set", "salt=1"], 3, "key", &fragments);
    let rotated = project.json(&["ledger", "rotate", "lineal", "builder"]);
    assert_eq!(rotated["place"], "key `first` in token `lineal`");
    assert!(!project.path(".lineal/keys/lineal.builder.pem.age").exists(), "the old key is gone");
    let after = project.run(&["salt=1"]);
    for run in [&before, &after] {
        assert_eq!(project.json(&["verify", run["run"].as_str().unwrap()])["verified"], true);
    }
    project.refuses(&["ledger", "rotate", "lineal", "builder"], 3, "key", &["is the ledger's key already"]);
    // The key in force, which the settings no longer name, introduces the next one.
    token.configure(&token.uri("second", &module()));
    project.refuses(&["ledger", "rotate", "lineal", "builder"], 3, "key", &["the builder key at hand"]);
    let next = project.json(&["ledger", "rotate", "lineal", "builder", "--signed-by", &first]);
    assert_eq!((&next["old"], &next["place"]), (&rotated["new"], &"key `second` in token `lineal`".into()));
    let last = project.run(&["salt=2"]);
    assert_eq!(project.json(&["verify", last["run"].as_str().unwrap()])["verified"], true);
    // And back into a file.
    let path = project.path(".lineal/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.split("\n[signers]").next().unwrap()).unwrap();
    let second = token.uri("second", &module());
    project.json(&["ledger", "rotate", "lineal", "builder", "--signed-by", &second]);
    project.run(&["salt=3"]);
}

#[test]
fn a_token_that_cannot_be_used_is_named_and_its_pin_is_not() {
    let token = Token::new();
    let project = &token.project;
    let good = token.uri("first", &module());
    token.configure(&good);
    project.json(&["ledger", "rotate", "lineal", "builder"]);
    let run = ["run", "--set", "salt=1"];
    token.configure(&token.uri("first", &token.path("no-such-module.so")));
    project.refuses(&run, 3, "key", &["no-such-module.so", "cannot be loaded"]);
    token.configure(&token.uri("nothing", &module()));
    project.refuses(&run, 3, "key", &["token `lineal`", "`nothing`"]);
    token.configure("pkcs11:token=lineal;object=first?pin-value=27182818");
    let text = project.lineal(&["run", "--json"]).failed(3, "config-invalid", &["pin-source"]);
    assert!(!text.contains(PIN), "{text}");
    token.configure(&good);
    files::replace(&token.path("pin"), b"99999999").unwrap();
    let text = project.lineal(&["run", "--set", "salt=1", "--json"]).failed(3, "key", &["refuses the PIN"]);
    assert!(!text.contains("99999999"), "{text}");
    // What needs no key needs no token.
    project.json(&["ledger", "show"]);
    files::replace(&token.path("pin"), PIN.as_bytes()).unwrap();
    project.run(&["salt=1"]);
    for path in crate::keys::files(&project.path(".lineal")) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(PIN.len()).any(|window| window == PIN.as_bytes()), "{}", path.display());
    }
}
