use std::path::Path;

use super::enter;
use crate::cluster::place::Process;
use crate::shell;

#[test]
fn a_program_inside_ends_with_the_command_that_started_it() {
    let own = Process::of(std::process::id().cast_signed()).unwrap();
    let line = shell::line(enter(own, Path::new("/a folder")).arg("true"));
    let expected = format!(
        "nsenter --target {} --net --mount --pid --uts -- env -C \"/a folder\" setpriv --pdeathsig KILL -- true",
        own.pid
    );
    assert_eq!(line, expected);
}
