//! Java libraries with native code that the tests run: RocksDB's and zstd's.
//!
//! They come as jars in PyPI's `pyspark`, of which nothing else is kept. Version and hash are pinned; pip itself refuses
//! a file that has another hash. 300 MB are downloaded, once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{jdk, process, workspace};

const VERSION: &str = "3.5.1";
/// SHA-256 of the source distribution, which is the same for every architecture.
const HASH: &str = "dd6569e547365eadc4f887bf57f153e4d582a68c4b490de475d55b9981664910";
const JARS: [&str; 2] = ["rocksdbjni-8.3.2.jar", "zstd-jni-1.5.5-4.jar"];

/// Where they are.
pub fn folder() -> PathBuf {
    workspace::target().join("jars")
}

/// Downloads the jars that are not there; quick when all are.
///
/// # Errors
/// pip or the network is missing.
pub fn ensure() -> Result<()> {
    if JARS.iter().all(|jar| folder().join(jar).is_file()) {
        return Ok(());
    }
    eprintln!(
        "downloading RocksDB and zstd for Java into target/jars (300 MB, of which 65 MB are kept): tests trace them"
    );
    let work = workspace::target().join("jars.new");
    jdk::remove(&work)?;
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let fetched = fetch(&work);
    jdk::remove(&work)?;
    fetched.context("cannot get RocksDB and zstd for Java")
}

fn fetch(work: &Path) -> Result<()> {
    let requirement = format!("pyspark=={VERSION} --hash=sha256:{HASH}\n");
    let archive = jdk::download_pinned(
        work,
        &requirement,
        "gz",
        &["--no-binary=:all:", "--no-cache-dir"],
    )?;
    let jars = work.join("jars");
    fs::create_dir(&jars).with_context(|| format!("cannot create {}", jars.display()))?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(&jars);
    tar.arg("--strip-components=3").arg("--no-same-owner");
    let members = JARS.map(|jar| format!("pyspark-{VERSION}/deps/jars/{jar}"));
    process::run_quietly(tar.args(members))?;
    jdk::remove(&folder())?;
    fs::rename(&jars, folder()).with_context(|| format!("cannot create {}", folder().display()))
}
