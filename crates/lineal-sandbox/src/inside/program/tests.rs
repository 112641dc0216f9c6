use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn looks_through_the_search_path_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    for directory in [&first, &second] {
        fs::create_dir(directory).unwrap();
    }
    let search = format!("/nowhere:{}:{}", first.display(), second.display());
    let program = |directory: &Path, mode| {
        let path = directory.join("tool");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };

    let missing = find("tool", Some(&search)).unwrap_err();
    assert!(matches!(missing, SandboxError::ProgramNotFound { ref searched, .. } if *searched == search));

    let refused = program(&first, 0o644);
    let error = find("tool", Some(&search)).unwrap_err();
    assert!(
        matches!(error, SandboxError::ProgramNotExecutable { ref program, .. } if *program == refused.display().to_string())
    );

    let good = program(&second, 0o755);
    assert_eq!(find("tool", Some(&search)), Ok(good), "a file that may not be executed is passed over");
    let refused = program(&first, 0o755);
    assert_eq!(find("tool", Some(&search)), Ok(refused));
}

#[test]
fn a_directory_is_no_program() {
    let error = find("/usr", None).unwrap_err();
    assert!(matches!(error, SandboxError::ProgramNotExecutable { .. }), "{error}");
}
