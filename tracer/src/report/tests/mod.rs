mod course;
pub(crate) mod fixture;
pub(crate) mod golden;
mod profile;
mod shape;
mod verdicts;
