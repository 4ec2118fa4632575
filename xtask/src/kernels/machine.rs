//! A virtual machine, by qemu and virtiofsd.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    host::{self, Refused},
    process, workspace,
};

const QEMU: &str = "qemu-system-x86_64";
const MEMORY: &str = "4G";
/// How long virtiofsd may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What this machine runs others with.
pub struct Host {
    daemon: Daemon,
    is_fast: bool,
}

/// virtiofsd was qemu's own and is a program of its own now, with other options.
struct Daemon {
    program: &'static str,
    share: &'static [&'static str],
}

const DAEMONS: [Daemon; 3] = [
    Daemon {
        program: "/usr/libexec/virtiofsd",
        share: &["--shared-dir=/", "--sandbox=chroot"],
    },
    Daemon {
        program: "/usr/lib/virtiofsd",
        share: &["--shared-dir=/", "--sandbox=chroot"],
    },
    Daemon {
        program: "/usr/lib/qemu/virtiofsd",
        share: &["-o", "source=/", "-o", "sandbox=chroot"],
    },
];

impl Host {
    /// # Errors
    /// Refused where it has not what is needed.
    pub fn find() -> Result<Host> {
        let lacks = |what: &str| Refused(what.to_owned()).into();
        if std::env::consts::ARCH != "x86_64" {
            return Err(lacks("these kernels are for x86_64"));
        }
        if process::find_in_path(QEMU).is_none() {
            return Err(lacks("qemu-system-x86 is not installed"));
        }
        let daemon = DAEMONS
            .into_iter()
            .find(|daemon| process::is_executable(Path::new(daemon.program)));
        let Some(daemon) = daemon else {
            return Err(lacks("virtiofsd is not installed"));
        };
        Ok(Host {
            daemon,
            is_fast: is_fast(),
        })
    }

    pub fn accelerator(&self) -> &'static str {
        if self.is_fast { "KVM" } else { "emulated" }
    }

    /// Boots `kernel`, hands each line of its second serial port to `each`, and returns when it is off, which is after
    /// `limit` at the latest.
    pub fn boot(
        &self,
        kernel: &Path,
        initramfs: &Path,
        limit: Duration,
        mut each: impl FnMut(&str),
    ) -> Result<()> {
        let socket = std::env::temp_dir().join(format!("offheap-virtiofs-{}", std::process::id()));
        let mut share = self.share(&socket, limit)?;
        let ended = self
            .qemu(kernel, initramfs, &socket, limit)
            .and_then(|qemu| lines(qemu, &mut each));
        end(&mut share);
        let _ = fs::remove_file(&socket);
        ended
    }

    fn share(&self, socket: &Path, limit: Duration) -> Result<Child> {
        let log = log("virtiofsd")?;
        let mut command = limited(self.daemon.program, limit)?;
        command
            .arg(format!("--socket-path={}", socket.display()))
            .args(self.daemon.share);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = command.spawn().context("cannot start virtiofsd")?;
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            if let Some(status) = child.try_wait()? {
                bail!("virtiofsd ended ({status}): target/kernels/virtiofsd.log says why");
            }
            if Instant::now() > until {
                end(&mut child);
                bail!("virtiofsd made no socket");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(child)
    }

    fn qemu(
        &self,
        kernel: &Path,
        initramfs: &Path,
        socket: &Path,
        limit: Duration,
    ) -> Result<Child> {
        let mut command = limited(QEMU, limit)?;
        match self.is_fast {
            true => command.args(["-accel", "kvm", "-cpu", "host"]),
            // Without cmpxchg16b, behind which qemu 7.2 has other flags now and then: a double fault in 6.12's kmalloc.
            false => command.args(["-accel", "tcg,thread=multi", "-cpu", "Nehalem,-cx16"]),
        };
        let memory = format!("memory-backend-memfd,id=memory,size={MEMORY},share=on");
        let console = workspace::target().join("kernels/console.log");
        command
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-smp", "2", "-m", MEMORY])
            .args(["-object", &memory, "-numa", "node,memdev=memory"])
            .args([
                "-chardev",
                &format!("socket,id=share,path={}", socket.display()),
            ])
            .args(["-device", "vhost-user-fs-pci,chardev=share,tag=host"])
            .args([
                "-serial",
                &format!("file:{}", console.display()),
                "-serial",
                "stdio",
            ])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", "console=ttyS0 panic=-1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log("qemu")?);
        command.spawn().context("cannot start qemu")
    }
}

/// Whether a machine that knows nothing of another one below it runs on the processor. Under `kvm_pvm` it does not.
fn is_fast() -> bool {
    let modules = ["/sys/module/kvm_intel", "/sys/module/kvm_amd"];
    modules.iter().any(|module| Path::new(module).exists()) && Path::new("/dev/kvm").exists()
}

/// A command as root that is killed after `limit`, whatever it does.
fn limited(program: &str, limit: Duration) -> Result<Command> {
    let mut command = host::as_root("timeout", &[])?;
    command.args(["--kill-after=5", &limit.as_secs().to_string(), program]);
    Ok(command)
}

/// virtiofsd ends by itself when the machine is off; this is for the one that never was.
fn end(limited: &mut Child) {
    if let Ok(pid) = i32::try_from(limited.id()) {
        // SAFETY: a signal to our own child, which has not been waited for. `timeout` passes it on.
        let _ = unsafe { libc::kill(pid, libc::SIGTERM) };
    }
    let _ = limited.wait();
}

fn log(name: &str) -> Result<File> {
    let file: PathBuf = workspace::target()
        .join("kernels")
        .join(format!("{name}.log"));
    File::create(&file).with_context(|| format!("cannot write {}", file.display()))
}

fn lines(mut qemu: Child, each: &mut impl FnMut(&str)) -> Result<()> {
    let stdout = qemu.stdout.take().context("qemu has no stdout")?;
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .context("cannot read from qemu")?
        > 0
    {
        let text = String::from_utf8_lossy(&line);
        println!("{}", text.trim_end());
        each(text.trim_end());
        line.clear();
    }
    qemu.wait().context("cannot wait for qemu")?;
    Ok(())
}
