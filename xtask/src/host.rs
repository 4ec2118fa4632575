//! What this machine and its user allow.

use std::{ffi::OsStr, fmt, process::Command};

use crate::process;

/// The machine or the user's rights stand in the way; the text says what to run. Exit code 3.
#[derive(Debug)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// How a command can be run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// We are root.
    Root,
    /// We are not, but `sudo` is there.
    Sudo,
    /// Neither.
    None,
}

/// How this process can run a command as root.
pub fn privilege() -> Privilege {
    // SAFETY: geteuid has no arguments and cannot fail.
    let effective_user = unsafe { libc::geteuid() };
    match effective_user {
        0 => Privilege::Root,
        _ if process::find_in_path("sudo").is_some() => Privilege::Sudo,
        _ => Privilege::None,
    }
}

/// `program` as root with `environment` added to the user's own; refused where we cannot become root.
pub fn as_root(
    program: impl AsRef<OsStr>,
    environment: &[(&str, String)],
) -> Result<Command, Refused> {
    elevate(privilege(), program.as_ref(), environment)
}

/// Under sudo the variables go through `env`, because sudo's policy may drop what its caller exports.
fn elevate(
    privilege: Privilege,
    program: &OsStr,
    environment: &[(&str, String)],
) -> Result<Command, Refused> {
    match privilege {
        Privilege::None => {
            let program = program.to_string_lossy();
            Err(Refused(format!(
                "{program} needs root, and there is no sudo: run the same command as root"
            )))
        }
        Privilege::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-E", "env"]);
            command.args(
                environment
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            );
            command.arg(program);
            Ok(command)
        }
        Privilege::Root => {
            let mut command = Command::new(program);
            command.envs(environment.iter().map(|(name, value)| (name, value)));
            Ok(command)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sudo's policy would drop from the environment is on the command line instead.
    #[test]
    fn sudo_gets_the_environment_as_arguments() {
        let environment = [("OFFHEAP_BIN", "/a b".to_owned())];
        let line = |privilege| {
            elevate(privilege, OsStr::new("./t"), &environment)
                .map(|command| process::line(&command))
        };
        assert!(
            line(Privilege::Sudo).is_ok_and(|line| line == "sudo -E env 'OFFHEAP_BIN=/a b' ./t")
        );
        assert!(line(Privilege::Root).is_ok_and(|line| line == "./t"));
        assert!(line(Privilege::None).is_err_and(|refused| refused.0.contains("./t needs root")));
    }
}
