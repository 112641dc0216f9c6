//! What an init container does before the step's container starts: the program and the step's folders.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lineal_blob::files::{self, Context as _, FileError};

/// The program's name.
pub const PROGRAM: &str = "lineal-step";
/// The running program.
const SELF: &str = "/proc/self/exe";

/// Copies the running program to `folder`, where any user may run it.
pub fn program(folder: &Path) -> Result<(), FileError> {
    let (new, path) = (folder.join(format!("{PROGRAM}.new")), folder.join(PROGRAM));
    files::create_directory(folder)?;
    fs::copy(SELF, &new).context("write", &new)?;
    fs::set_permissions(&new, Permissions::from_mode(0o755)).context("set the mode of", &new)?;
    fs::rename(&new, &path).context("rename to", &path)
}

/// Makes what is mounted, part by part, below `/lineal` of the step's container: `code`, `in`, `out`, `tmp` and the file
/// `params.json`. The step's image may have another user: the volume is this pod's alone.
pub fn folders(work: &Path) -> Result<(), FileError> {
    let open = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).context("set the mode of", path)
    };
    for name in ["code", "in", "out", "tmp"] {
        let path = work.join(name);
        files::create_directory(&path)?;
        open(&path, 0o777)?;
    }
    let parameters = work.join("params.json");
    File::create(&parameters).context("create", &parameters)?;
    open(&parameters, 0o666)
}
