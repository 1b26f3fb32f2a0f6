//! The sources of rocker as a library, for the fuzz targets alone: the product has none.
#![allow(dead_code)]

#[path = "../../../src/cgroups/mod.rs"]
pub mod cgroups;
#[path = "../../../src/container/mod.rs"]
pub mod container;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/image/mod.rs"]
pub mod image;
#[path = "../../../src/namespace/mod.rs"]
pub mod namespace;
#[path = "../../../src/network/mod.rs"]
pub mod network;
#[path = "../../../src/rocker/mod.rs"]
pub mod rocker;
#[path = "../../../src/runtime/mod.rs"]
pub mod runtime;
#[path = "../../../src/sys/mod.rs"]
pub mod sys;
