//! The launcher as a program of its own, for the tests of this crate. `lineal` has it as a hidden subcommand.

fn main() -> std::process::ExitCode {
    lineal_sandbox::launcher_main()
}
