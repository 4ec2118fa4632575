mod course;
pub(crate) mod fixture;
pub(crate) mod golden;
mod owners;
mod page;
mod profile;
mod shape;
mod verdicts;
