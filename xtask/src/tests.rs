use clap::CommandFactory as _;

use super::Arguments;

/// clap looks only at the command that is typed, and panics then.
#[test]
fn every_command_can_be_typed() {
    Arguments::command().debug_assert();
}
