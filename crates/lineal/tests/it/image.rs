//! Images as software environments: imported, run, and refused.

mod layout;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tar::EntryType;

use crate::project::Project;
use layout::{Entry, Layout, Stored, directory, entry, file, hard_link, image, link, shell, tar};

const NAME: &str = "registry.example:5000/team/words:1";

/// A shell, and `/app/words` with this text.
fn words(text: &str) -> Layout {
    let app = [directory("app/"), file("app/words", text)];
    image(NAME, &[(tar(&shell()), Stored::Gzip), (tar(&app), Stored::Zstd)])
}

/// Imports from a tar file; yields what it prints.
fn import(project: &Project, layout: &Layout) -> Value {
    let path = project.path("image.tar");
    layout.write_tar(&path);
    project.json(&["image", "import", path.to_str().unwrap()])
}

/// A pipeline of one step, a shell script in the image.
fn pipeline(project: &Project, reference: &str, script: &str) {
    let script = script.replace('\'', "''");
    project.pipeline(&format!(
        "envs: {{words: {{image: \"{reference}\"}}}}\n\
         steps: {{say: {{run: [sh, -c, '{script}'], env: words, out: {{text: text}}}}}}\n"
    ));
}

/// A project with that image and a pipeline that runs this script in it.
fn with(layout: &Layout, script: &str) -> Project {
    let project = Project::new();
    import(&project, layout);
    pipeline(&project, &format!("{NAME}@{}", layout.digest), script);
    project
}

/// What the script, whose output goes to the step's output, said.
fn said(project: &Project) -> String {
    let run = project.run(&[]);
    fs::read_to_string(project.blob(&run["steps"][0]["outputs"]["text"]["digest"])).unwrap()
}

fn unpacked(project: &Project, layout: &Layout) -> PathBuf {
    project.path(&format!(".lineal/work/images/{}", layout.digest.trim_start_matches("sha256:")))
}

const SAY: &str = "read line < /app/words; echo $line > $LINEAL_OUT/text";

#[test]
fn a_step_runs_in_an_image_and_not_on_this_machine() {
    let layout = words("one");
    let project = Project::new();
    let imported = import(&project, &layout);
    let reference = format!("{NAME}@{}", layout.digest);
    assert_eq!(imported[0]["reference"], reference);
    assert_eq!((&imported[0]["digest"], &imported[0]["layers"]), (&json!(layout.digest), &json!(2)));
    assert_eq!(project.json(&["image", "list"]), imported);

    let script = "cd /; pwd > /tmp/p; read line < /app/words; \
                  for n in $line $GREETING $PATH $TZ ${TERM-none} $HOME /*; do echo $n; done > $LINEAL_OUT/text";
    pipeline(&project, &reference, script);
    let said = said(&project);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..6],
        ["one", "hello", "/bin", "UTC", "none", "/tmp"],
        "the image's variables, then ours"
    );
    for inside in ["/app", "/bin", "/lineal", "/tmp"] {
        assert!(lines.contains(&inside), "{inside}: {said}");
    }
    for outside in ["/home", "/root", "/sbin", "/usr", "/var"] {
        assert!(!lines.contains(&outside), "nothing of this machine: {outside}: {said}");
    }
    assert!(project.run(&[])["unchanged"].as_bool().unwrap());
    let statements = fs::read(project.path(".lineal/statements/000")).unwrap();
    let text = String::from_utf8_lossy(&statements);
    let dependency = format!(
        r#"{{"annotations":{{"image":"{NAME}"}},"digest":{{"sha256":"{}"}},"name":"environment/words"}}"#,
        layout.digest.trim_start_matches("sha256:")
    );
    assert!(text.contains(&dependency), "no `{dependency}` in: {text}");
    let run = project.run(&[])["run"].as_str().unwrap().to_owned();
    assert_eq!(project.json(&["reproduce", &run])["reproduced"], true);
    project.json(&["verify", &run]);
}

#[test]
fn another_image_runs_the_step_again_and_another_name_does_not() {
    let project = with(&words("one"), SAY);
    assert_eq!(said(&project), "one\n");
    let cache_key = project.run(&[])["steps"][0]["cache_key"].clone();

    pipeline(&project, &format!("elsewhere@{}", words("one").digest), SAY);
    let run = project.run(&[]);
    assert_eq!((&run["steps"][0]["reused"], &run["steps"][0]["cache_key"]), (&json!(true), &cache_key));

    let other = words("two");
    import(&project, &other);
    pipeline(&project, &format!("{NAME}@{}", other.digest), SAY);
    let plan = project.json(&["explain", "say"]);
    let why = plan[0]["why"].as_str().unwrap();
    assert!(why.starts_with("environment: sha256:") && !why.contains(';'), "{why}");
    assert_eq!(said(&project), "two\n");
    assert_eq!(project.json(&["image", "list"]).as_array().unwrap().len(), 2);
}

#[test]
fn an_image_that_is_not_here_is_named_when_a_step_needs_it() {
    let layout = words("one");
    let project = Project::new();
    pipeline(&project, &format!("{NAME}@{}", layout.digest), SAY);
    let fragments = ["the image `registry.example:5000/team/words:1@sha256:", "`lineal image import FILE`"];
    project.refuses(&["run"], 3, "environment", &fragments);
    import(&project, &layout);
    assert_eq!(said(&project), "one\n");
    // A result that is there needs no image.
    fs::remove_file(project.blob(&json!(layout.digest))).unwrap();
    fs::remove_dir_all(project.path(".lineal/work/images")).unwrap();
    assert!(project.run(&[])["unchanged"].as_bool().unwrap());
}

#[test]
fn a_tag_alone_is_refused() {
    let project = Project::new();
    pipeline(&project, NAME, SAY);
    project.refuses(
        &["run"],
        3,
        "pipeline-invalid",
        &["envs.words.image", "has no digest", "lineal image import"],
    );
}

#[test]
fn what_was_unpacked_is_checked_and_unpacked_again() {
    let layout = words("one");
    let project = with(&layout, SAY);
    let place = unpacked(&project, &layout);
    let damage: [&dyn Fn(); 5] = [
        &|| fs::write(place.join("root/app/words"), "two").unwrap(),
        &|| fs::write(place.join("root/app/more"), "").unwrap(),
        &|| fs::remove_file(place.join("root/app/words")).unwrap(),
        &|| fs::remove_file(place.join("unpacked.json")).unwrap(),
        &|| fs::remove_dir_all(&place).unwrap(),
    ];
    for (time, damage) in damage.iter().enumerate() {
        damage();
        let script = format!("read line < /app/words; echo {time} $line /app/* > $LINEAL_OUT/text");
        pipeline(&project, &format!("{NAME}@{}", layout.digest), &script);
        assert_eq!(said(&project), format!("{time} one /app/words\n"));
        assert_eq!(project.workspaces(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_damaged_layer_is_refused() {
    let layout = words("one");
    let project = with(&layout, SAY);
    let stored = project.path(&format!(".lineal/{}", {
        let name = layout.layer(1);
        let hex = name.rsplit('/').next().unwrap().to_owned();
        format!("blobs/sha256/{}/{}", &hex[..2], &hex[2..])
    }));
    fs::remove_dir_all(unpacked(&project, &layout)).unwrap();
    let mut bytes = fs::read(&stored).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&stored).unwrap();
    fs::write(&stored, &bytes).unwrap();
    project.refuses(&["run"], 5, "tampered", &[]);
    // Importing it again repairs it.
    import(&project, &layout);
    assert_eq!(said(&project), "one\n");
}

/// Layers are applied in order; whiteouts are about the layers below, wherever they stand.
#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    let below = [
        directory("app/"),
        file("app/a", "a"),
        file("app/b", "below"),
        file("app/sub/c", "c"),
        file("app/gone/x/y", "y"),
        link("linked", "app"),
    ];
    let above = [
        file("app/sub/d", "d"),
        file("app/sub/.wh..wh..opq", ""),
        file("app/.wh.a", ""),
        file("app/b", "above"),
        file("app/.wh.b", ""),
        file("app/.wh.gone", ""),
        file("app/.wh.never", ""),
        file("linked/e", "e"),
        hard_link("app/f", "linked/e"),
    ];
    let layers = [(tar(&shell()), Stored::Plain), (tar(&below), Stored::Gzip), (tar(&above), Stored::Zstd)];
    let project = with(
        &image(NAME, &layers),
        "read b < /app/b; read f < /app/f; echo $b $f /app/* /app/sub/* > $LINEAL_OUT/text",
    );
    assert_eq!(said(&project), "above e /app/b /app/e /app/f /app/sub /app/sub/d\n");
}

#[test]
fn an_index_of_platforms_yields_the_image_for_this_machine() {
    let mut layout = words("one");
    let other = words("two");
    let media = "application/vnd.oci.image.index.v1+json";
    let (mut mine, mut theirs, mut note) = (layout.named(), other.named(), other.named());
    mine["platform"] = json!({"os": "linux", "architecture": layout::architecture()});
    theirs["platform"] = json!({"os": "linux", "architecture": "s390x"});
    note["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner = json!({"schemaVersion": 2, "mediaType": media, "manifests": [theirs, note, mine]});
    let mut outer = layout::add(&mut layout.files, media, inner.to_string().into_bytes());
    outer["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    layout.index(&[outer]);
    let project = Project::new();
    layout.write_folder(&project.path("layout"));
    let imported = project.json(&["image", "import", project.path("layout").to_str().unwrap()]);
    assert_eq!(imported.as_array().unwrap().len(), 1, "{imported}");
    assert_eq!(imported[0]["digest"], layout.digest);
}

/// Checks that the import is refused with this text, and that nothing is left of it.
#[track_caller]
fn refused(project: &Project, layout: &Layout, fragments: &[&str]) {
    let path = project.path("image.tar");
    layout.write_tar(&path);
    project.refuses(&["image", "import", path.to_str().unwrap()], 3, "image-invalid", fragments);
    assert_eq!(project.json(&["image", "list"]), json!([]));
    assert_eq!(fs::read_dir(project.path(".lineal/work/images")).into_iter().flatten().count(), 0);
    assert_eq!(project.workspaces(), Vec::<PathBuf>::new());
}

#[test]
fn hostile_layers_are_refused() {
    let project = Project::new();
    let outside = project.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    let (outside_text, above) = (outside.to_str().unwrap(), "../".repeat(20));
    let escape = format!("{above}{outside_text}");
    let long = vec![b'a'; 1 << 20];
    let cases: Vec<(Vec<Entry>, &str)> = vec![
        (vec![file("../x", "")], "leads out of the image: `..`"),
        (vec![file("a/../../x", "")], "leads out of the image: `..`"),
        (vec![file("/x", "")], "has an absolute path"),
        (vec![file("a/.wh...", "")], "removes nothing that has a name"),
        (vec![file("a/.wh.", "")], "removes nothing that has a name"),
        (vec![entry(EntryType::Char, "dev/null", "", b"")], "is a device or a pipe"),
        (vec![entry(EntryType::Block, "dev/sda", "", b"")], "is a device or a pipe"),
        (vec![entry(EntryType::Fifo, "pipe", "", b"")], "is a device or a pipe"),
        (vec![entry(EntryType::new(b'Z'), "what", "", b"")], "is neither a file nor a directory nor a link"),
        (vec![link("l", "")], "is a link to nothing that can be named"),
        (vec![hard_link("l", "../outside/file")], "leads out of the image: `..`"),
        (vec![hard_link("l", "/etc/passwd")], "has an absolute path"),
        (vec![link("e", outside_text), hard_link("l", "e/file")], "No such file"),
        (vec![link("e", outside_text), file("e/new", "theirs")], "File exists"),
        (vec![link("e", &escape), file("e/file", "theirs")], "File exists"),
        (vec![link("e", outside_text), file("e/.wh.file", "")], "File exists"),
        (vec![link("e", &escape), file("e/.wh..wh..opq", "")], "File exists"),
        (vec![link("a", "b"), link("b", "a"), file("a/x", "")], "Too many levels of symbolic links"),
        (vec![file("a", ""), file("a/x", "")], "Not a directory"),
        (
            vec![entry(EntryType::GNULongName, "l", "", &long), file("x", "")],
            "an extended name has more than",
        ),
        (vec![entry(EntryType::XHeader, "l", "", &long), file("x", "")], "an extended name has more than"),
        (vec![entry(EntryType::XHeader, "l", "", b"9 size=1\n"), file("x", "a")], "says its size twice"),
        (
            vec![entry(EntryType::GNULongName, "l", "", b"../y"), file("x", "")],
            "leads out of the image: `..`",
        ),
    ];
    for (entries, reason) in cases {
        let layout = image(NAME, &[(tar(&shell()), Stored::Plain), (tar(&entries), Stored::Gzip)]);
        refused(&project, &layout, &["the image cannot be used", reason]);
    }
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["file"]);
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "mine");
}

/// A link to anywhere is a text; what leads through it stays in the image.
#[test]
fn links_lead_to_places_in_the_image() {
    let above = "../".repeat(20);
    let entries = [
        directory("app/"),
        link("root", "/"),
        link("up", &above),
        file("root/app/a", "a"),
        file("up/app/b", "b"),
        link("app/sh", "/bin/sh"),
    ];
    let layers = [(tar(&shell()), Stored::Plain), (tar(&entries), Stored::Plain)];
    let project = with(&image(NAME, &layers), "/app/sh -c 'echo /app/*' > $LINEAL_OUT/text");
    assert_eq!(said(&project), "/app/a /app/b /app/sh\n");
}

#[test]
fn broken_layouts_are_refused() {
    let project = Project::new();
    let refused = |change: &dyn Fn(&mut Layout), fragments: &[&str]| {
        let mut layout = words("one");
        change(&mut layout);
        refused(&project, &layout, fragments);
    };
    let flip = |layout: &mut Layout, name: &str| {
        let last = layout.files.get_mut(name).unwrap().last_mut().unwrap();
        *last ^= 1;
    };
    let manifest = |layout: &Layout| layout::blob(&layout.digest);
    refused(&|l| flip(l, &l.layer(0)), &["the layer sha256:", "is damaged: found sha256:"]);
    refused(&|l| flip(l, &manifest(l)), &["the document sha256:", "is damaged"]);
    refused(&|l| l.files.get_mut(&l.layer(1)).unwrap().push(0), &["the layer sha256:", "found more than"]);
    refused(
        &|l| l.files.get_mut(&l.layer(1)).unwrap().truncate(9),
        &["the layer sha256:", "bytes, fewer than"],
    );
    refused(&|l| drop(l.files.remove(&l.layer(1))), &["there is no file `blobs/sha256/"]);
    refused(&|l| drop(l.files.remove("index.json")), &["it has no `index.json`"]);
    refused(&|l| drop(l.files.insert("index.json".into(), b"{".to_vec())), &["an index cannot be read"]);
    refused(
        &|l| drop(l.files.insert("index.json".into(), vec![b' '; (4 << 20) + 1])),
        &["more than 4194304 bytes"],
    );
    refused(&|l| l.index(&[]), &[&format!("there is none for linux/{}", layout::architecture())]);
    refused(
        &|l| {
            l.files.insert("manifest.json".into(), l.files["index.json"].clone());
            l.files.remove("index.json");
        },
        &["`docker save` writes both since Docker 25"],
    );
    refused(
        &|l| {
            let mut named = l.named();
            named["size"] = json!(5 << 20);
            l.index(&[named]);
        },
        &["has 5242880 bytes; at most 4194304"],
    );
    let path = project.path("image.tar.gz");
    fs::write(&path, layout::compress(&tar(&[file("index.json", "{}")]), Stored::Gzip)).unwrap();
    project.refuses(
        &["image", "import", path.to_str().unwrap()],
        3,
        "image-invalid",
        &["`gzip -d` it first"],
    );
    project.refuses(&["image", "import", "/bin/sh"], 3, "image-invalid", &["no tar file"]);
}

/// Everything that a configuration or a manifest can get wrong by itself.
#[test]
fn wrong_documents_are_refused() {
    let project = Project::new();
    let refused = |change: &dyn Fn(&mut Value, &mut Value), fragments: &[&str]| {
        let mut layout = words("one");
        let mut manifest: Value =
            serde_json::from_slice(&layout.files[&layout::blob(&layout.digest)]).unwrap();
        let config_name = layout::blob(manifest["config"]["digest"].as_str().unwrap());
        let mut config: Value = serde_json::from_slice(&layout.files[&config_name]).unwrap();
        change(&mut manifest, &mut config);
        let media = "application/vnd.oci.image.config.v1+json";
        manifest["config"] = layout::add(&mut layout.files, media, config.to_string().into_bytes());
        let media = "application/vnd.oci.image.manifest.v1+json";
        let named = layout::add(&mut layout.files, media, manifest.to_string().into_bytes());
        layout.index(&[named]);
        refused(&project, &layout, fragments);
    };
    refused(&|m, _| m["schemaVersion"] = json!(1), &["its manifest is of schema 1, not 2"]);
    refused(
        &|m, _| m["layers"][0]["mediaType"] = json!("text/plain"),
        &["a layer is of the unknown type `text/plain`"],
    );
    refused(&|m, _| m["layers"][0]["digest"] = json!("sha512:00"), &["a manifest cannot be read"]);
    refused(
        &|m, _| m["layers"] = json!(vec![m["layers"][0].clone(); 257]),
        &["it has 257 layers; at most 256"],
    );
    refused(&|_, c| c["rootfs"]["diff_ids"] = json!([]), &["it has 2 layers and digests of 0"]);
    refused(
        &|_, c| c["architecture"] = json!("s390x"),
        &["the image is for linux/s390x; this machine needs linux/"],
    );
    refused(
        &|_, c| c["config"]["Env"] = json!(vec!["A=b"; 1001]),
        &["it sets too many environment variables"],
    );
    refused(
        &|_, c| c["rootfs"]["diff_ids"][1] = c["rootfs"]["diff_ids"][0].clone(),
        &["the content of a layer sha256:", "is damaged: found sha256:"],
    );
    refused(
        &|m, _| m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+zstd"),
        &["a layer cannot be read"],
    );
}
